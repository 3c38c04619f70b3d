/* What Rust sees of DPDK: the headers whose exported functions are bound directly, wrappers for what DPDK
 * defines inline (one call a burst, never one a packet), and constants that only a C compiler can work out. */
#ifndef TL_SHIM_H
#define TL_SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_memory.h>
#include <rte_mempool.h>
#include <rte_memzone.h>
#include <rte_version.h>
#include <rte_vfio.h>

/* Where the fields of an mbuf are. As constants, because releases after 22.11 moved some into anonymous unions. */
enum tl_mbuf_layout {
	TL_MBUF_SIZE = sizeof(struct rte_mbuf),
	TL_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	TL_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	TL_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt),
	TL_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	TL_MBUF_PORT = offsetof(struct rte_mbuf, port),
	TL_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	TL_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	TL_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	TL_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	TL_MBUF_RSS = offsetof(struct rte_mbuf, hash.rss),
	TL_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	TL_MBUF_POOL = offsetof(struct rte_mbuf, pool),
	TL_HEADROOM = RTE_PKTMBUF_HEADROOM,
	TL_MAX_PORTS = RTE_MAX_ETHPORTS,
};

/* Macros with 64-bit shifts, which bindgen does not evaluate. */
static const uint64_t TL_RX_VLAN = RTE_MBUF_F_RX_VLAN;
static const uint64_t TL_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t TL_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t TL_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t TL_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t TL_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t TL_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t TL_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t TL_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t TL_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t TL_TX_OFFLOAD_MBUF_FAST_FREE = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
static const uint64_t TL_RSS_IP = RTE_ETH_RSS_IP;
static const uint64_t TL_RSS_TCP = RTE_ETH_RSS_TCP;
static const uint64_t TL_RSS_UDP = RTE_ETH_RSS_UDP;
static const uint64_t TL_RSS_SCTP = RTE_ETH_RSS_SCTP;
static const uint64_t TL_RSS_MPLS = RTE_ETH_RSS_MPLS;
static const uint32_t TL_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;

uint16_t tl_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t n);
uint16_t tl_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t n);
/* 0, or a negative errno and no frame at all. */
int tl_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int n);
void tl_free(struct rte_mbuf *frame);
/* The private area that `rte_pktmbuf_pool_create` leaves as it found it. */
void tl_pool_zero_private(struct rte_mempool *pool);
uint32_t tl_pool_element_size(const struct rte_mempool *pool);

/* Why the last call of this thread failed, as an errno. */
int tl_errno(void);
struct tl_link {
	uint32_t mbps; /* 0: unknown */
	uint8_t up;
	uint8_t full_duplex;
};
int tl_link_get(uint16_t port, struct tl_link *link);

/* A zone of DPDK's memory: a ring of a driver, a pool, its frames. */
struct tl_zone {
	char name[32];
	uint64_t at;
	uint64_t len;
	int32_t node;
};
/* Fills in up to room zones; returns how many there are. */
size_t tl_zones(struct tl_zone *out, size_t room);

/* Diverts DPDK's log into a buffer of this process: 0, or a negative errno. Only what precedes an abort also goes
 * to stderr. Must be called before rte_eal_init. */
int tl_log_divert(void);
/* Diverts what libxdp and libbpf print likewise, once they are loaded (by the AF_XDP driver). */
void tl_log_divert_xdp(void);
/* Moves up to n bytes of the log into out; returns how many. */
size_t tl_log_take(char *out, size_t n);

#endif
