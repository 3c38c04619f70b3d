#define ALLOW_EXPERIMENTAL_API
#include "rivals.h"

#include <stdio.h>
#include <string.h>
#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_lpm.h>
#include <rte_lpm6.h>
#include <rte_malloc.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>
#include <rte_vect.h>

/* DPDK finds its tables by name. */
static const char *name(void)
{
	static _Thread_local char text[16];
	static uint32_t count;

	snprintf(text, sizeof(text), "rival%u", __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED));
	return text;
}

const char *tl_rival_error(void)
{
	return rte_strerror(rte_errno);
}

uint64_t tl_heap_bytes(void)
{
	struct rte_malloc_socket_stats stats;
	uint64_t sum = 0;

	for (unsigned int i = 0; i < rte_socket_count(); i++)
		if (rte_malloc_get_socket_stats(rte_socket_id_by_idx(i), &stats) == 0)
			sum += stats.heap_allocsz_bytes;
	return sum;
}

/* ---- rte_fib ---- */

void *tl_fib_new(uint32_t routes, uint32_t tbl8)
{
	struct rte_fib_conf conf;

	memset(&conf, 0, sizeof(conf));
	conf.type = RTE_FIB_DIR24_8;
	conf.max_routes = routes;
	conf.dir24_8.nh_sz = RTE_FIB_DIR24_8_4B;
	conf.dir24_8.num_tbl8 = tbl8;
	return rte_fib_create(name(), SOCKET_ID_ANY, &conf);
}

void tl_fib_free(void *fib)
{
	rte_fib_free(fib);
}

int tl_fib_select(void *fib, int avx512)
{
	/* DPDK keeps to 256 bits unless it is told that 512 are welcome. */
	rte_vect_set_max_simd_bitwidth(RTE_VECT_SIMD_512);
	return rte_fib_select_lookup(fib, avx512 ? RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512
						 : RTE_FIB_LOOKUP_DIR24_8_SCALAR_MACRO);
}

int tl_fib_add(void *fib, uint32_t ip, uint8_t len, uint32_t hop)
{
	return rte_fib_add(fib, ip, len, hop);
}

int tl_fib_del(void *fib, uint32_t ip, uint8_t len)
{
	return rte_fib_delete(fib, ip, len);
}

void tl_fib_lookup(void *fib, const uint32_t *ips, uint64_t *hops, uint32_t n)
{
	rte_fib_lookup_bulk(fib, (void *)(uintptr_t)ips, hops, n);
}

/* ---- rte_lpm ---- */

void *tl_lpm_new(uint32_t routes, uint32_t tbl8)
{
	struct rte_lpm_config conf = {.max_rules = routes, .number_tbl8s = tbl8};

	return rte_lpm_create(name(), SOCKET_ID_ANY, &conf);
}

void tl_lpm_free(void *lpm)
{
	rte_lpm_free(lpm);
}

int tl_lpm_paint(void *lpm, uint32_t ip, uint8_t len, uint32_t hop)
{
	const struct rte_lpm_tbl_entry entry = {.next_hop = hop, .valid = 1, .depth = len};
	struct rte_lpm *l = lpm;

	if (len == 0 || len > 24)
		return -EINVAL;
	for (uint32_t i = ip >> 8, end = i + (1u << (24 - len)); i < end; i++)
		l->tbl24[i] = entry;
	return 0;
}

int tl_lpm_add(void *lpm, uint32_t ip, uint8_t len, uint32_t hop)
{
	return rte_lpm_add(lpm, ip, len, hop);
}

int tl_lpm_del(void *lpm, uint32_t ip, uint8_t len)
{
	return rte_lpm_delete(lpm, ip, len);
}

void tl_lpm_lookup(void *lpm, const uint32_t *ips, uint32_t *hops, uint32_t n)
{
	rte_lpm_lookup_bulk((struct rte_lpm *)lpm, ips, hops, n);
	for (uint32_t i = 0; i < n; i++)
		hops[i] = hops[i] & RTE_LPM_LOOKUP_SUCCESS ? hops[i] & 0xffffff : 0;
}

/* ---- rte_fib6 ---- */

void *tl_fib6_new(uint32_t routes, uint32_t tbl8)
{
	struct rte_fib6_conf conf;

	memset(&conf, 0, sizeof(conf));
	conf.type = RTE_FIB6_TRIE;
	conf.max_routes = routes;
	conf.trie.nh_sz = RTE_FIB6_TRIE_4B;
	conf.trie.num_tbl8 = tbl8;
	return rte_fib6_create(name(), SOCKET_ID_ANY, &conf);
}

void tl_fib6_free(void *fib)
{
	rte_fib6_free(fib);
}

int tl_fib6_select(void *fib, int avx512)
{
	rte_vect_set_max_simd_bitwidth(RTE_VECT_SIMD_512);
	return rte_fib6_select_lookup(fib, avx512 ? RTE_FIB6_LOOKUP_TRIE_VECTOR_AVX512
						  : RTE_FIB6_LOOKUP_TRIE_SCALAR);
}

int tl_fib6_add(void *fib, const void *ip, uint8_t len, uint32_t hop)
{
	return rte_fib6_add(fib, ip, len, hop);
}

int tl_fib6_del(void *fib, const void *ip, uint8_t len)
{
	return rte_fib6_delete(fib, ip, len);
}

void tl_fib6_lookup(void *fib, const void *ips, uint64_t *hops, uint32_t n)
{
	rte_fib6_lookup_bulk(fib, (void *)(uintptr_t)ips, hops, n);
}

/* ---- rte_lpm6 ---- */

void *tl_lpm6_new(uint32_t routes, uint32_t tbl8)
{
	struct rte_lpm6_config conf = {.max_rules = routes, .number_tbl8s = tbl8};

	return rte_lpm6_create(name(), SOCKET_ID_ANY, &conf);
}

void tl_lpm6_free(void *lpm)
{
	rte_lpm6_free(lpm);
}

int tl_lpm6_add(void *lpm, const void *ip, uint8_t len, uint32_t hop)
{
	return rte_lpm6_add(lpm, ip, len, hop);
}

int tl_lpm6_del(void *lpm, const void *ip, uint8_t len)
{
	return rte_lpm6_delete(lpm, ip, len);
}

void tl_lpm6_lookup(void *lpm, const void *ips, int32_t *hops, uint32_t n)
{
	rte_lpm6_lookup_bulk_func(lpm, (void *)(uintptr_t)ips, hops, n);
}

/* ---- rte_rcu_qsbr ---- */

void *tl_qsbr_new(void)
{
	struct rte_rcu_qsbr *v = rte_zmalloc(NULL, rte_rcu_qsbr_get_memsize(1), RTE_CACHE_LINE_SIZE);

	if (v == NULL || rte_rcu_qsbr_init(v, 1) != 0 || rte_rcu_qsbr_thread_register(v, 0) != 0) {
		rte_free(v);
		return NULL;
	}
	rte_rcu_qsbr_thread_online(v, 0);
	return v;
}

void tl_qsbr_free(void *qsbr)
{
	rte_free(qsbr);
}

void tl_qsbr_reports(void *qsbr, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		rte_rcu_qsbr_quiescent(qsbr, 0);
		/* What a loop does between two reports can't be moved over them, nor can they be merged. */
		__asm__ volatile("" ::: "memory");
	}
}

/* ---- rte_ring ---- */

void *tl_ring_new(uint32_t room)
{
	return rte_ring_create(name(), room, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ);
}

void tl_ring_free(void *ring)
{
	rte_ring_free(ring);
}

uint32_t tl_ring_push(void *ring, const uint64_t *items, uint32_t n)
{
	return rte_ring_sp_enqueue_burst(ring, (void *const *)(uintptr_t)items, n, NULL);
}

uint32_t tl_ring_pop(void *ring, uint64_t *items, uint32_t n)
{
	return rte_ring_sc_dequeue_burst(ring, (void **)(uintptr_t)items, n, NULL);
}
