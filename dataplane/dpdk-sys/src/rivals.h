/* DPDK's own tables, RCU and rings, for the benches to compare with (feature "rivals"; the appliance has none of it).
 * Addresses of IPv6 are 16 bytes each, as in a frame. Pointers without a type, because releases after 22.11 gave IPv6
 * addresses one. Functions that return int return 0 or a negative errno. */
#ifndef TL_RIVALS_H
#define TL_RIVALS_H

#include <stdint.h>
#include <rte_eal.h>
#include <rte_lcore.h>
#include <rte_version.h>

/* rte_fib: DIR-24-8 with next hops of 4 bytes. NULL: tl_errno says why. */
void *tl_fib_new(uint32_t routes, uint32_t tbl8);
void tl_fib_free(void *fib);
int tl_fib_select(void *fib, int avx512);
int tl_fib_add(void *fib, uint32_t ip, uint8_t len, uint32_t hop);
int tl_fib_del(void *fib, uint32_t ip, uint8_t len);
void tl_fib_lookup(void *fib, const uint32_t *ips, uint64_t *hops, uint32_t n);

/* rte_lpm. `paint` writes what rte_lpm_add would, for prefixes of at most 24 bits that come shortest first: rte_lpm_add
 * looks at every rule of the same length, which takes minutes for a table of the Internet. */
void *tl_lpm_new(uint32_t routes, uint32_t tbl8);
void tl_lpm_free(void *lpm);
int tl_lpm_paint(void *lpm, uint32_t ip, uint8_t len, uint32_t hop);
int tl_lpm_add(void *lpm, uint32_t ip, uint8_t len, uint32_t hop);
int tl_lpm_del(void *lpm, uint32_t ip, uint8_t len);
/* 0 where nothing was found: next hop 0 is not to be used. */
void tl_lpm_lookup(void *lpm, const uint32_t *ips, uint32_t *hops, uint32_t n);

/* rte_fib6: a trie with next hops of 4 bytes. */
void *tl_fib6_new(uint32_t routes, uint32_t tbl8);
void tl_fib6_free(void *fib);
int tl_fib6_select(void *fib, int avx512);
int tl_fib6_add(void *fib, const void *ip, uint8_t len, uint32_t hop);
int tl_fib6_del(void *fib, const void *ip, uint8_t len);
void tl_fib6_lookup(void *fib, const void *ips, uint64_t *hops, uint32_t n);

/* rte_lpm6. -1 where nothing was found. */
void *tl_lpm6_new(uint32_t routes, uint32_t tbl8);
void tl_lpm6_free(void *lpm);
int tl_lpm6_add(void *lpm, const void *ip, uint8_t len, uint32_t hop);
int tl_lpm6_del(void *lpm, const void *ip, uint8_t len);
void tl_lpm6_lookup(void *lpm, const void *ips, int32_t *hops, uint32_t n);

/* rte_rcu_qsbr with one thread, which is registered and online. */
void *tl_qsbr_new(void);
void tl_qsbr_free(void *qsbr);
/* Reports n times, as a worker's loop would: in C, where the report is inlined. */
void tl_qsbr_reports(void *qsbr, uint64_t n);

/* rte_ring, one producer and one consumer. */
void *tl_ring_new(uint32_t room);
void tl_ring_free(void *ring);
uint32_t tl_ring_push(void *ring, const uint64_t *items, uint32_t n);
uint32_t tl_ring_pop(void *ring, uint64_t *items, uint32_t n);

/* Bytes that DPDK's heaps have given out. */
uint64_t tl_heap_bytes(void);
/* Why the last call of this thread failed. */
const char *tl_rival_error(void);

#endif
