#define _GNU_SOURCE
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- frames ---- */

uint16_t tl_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, frames, n);
}

uint16_t tl_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, frames, n);
}

int tl_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int n)
{
	return rte_pktmbuf_alloc_bulk(pool, frames, n);
}

void tl_free(struct rte_mbuf *frame)
{
	rte_pktmbuf_free(frame);
}

static void zero_private(struct rte_mempool *pool, void *unused, void *object, unsigned int index)
{
	(void)unused;
	(void)index;
	memset(rte_mbuf_to_priv(object), 0, rte_pktmbuf_priv_size(pool));
}

void tl_pool_zero_private(struct rte_mempool *pool)
{
	rte_mempool_obj_iter(pool, zero_private, NULL);
}

uint32_t tl_pool_element_size(const struct rte_mempool *pool)
{
	return pool->header_size + pool->elt_size + pool->trailer_size;
}

/* ---- devices ---- */

int tl_errno(void)
{
	return rte_errno;
}

int tl_link_get(uint16_t port, struct tl_link *out)
{
	struct rte_eth_link link;
	int rc;

	memset(&link, 0, sizeof(link));
	rc = rte_eth_link_get_nowait(port, &link);
	if (rc != 0)
		return rc;
	out->mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
	out->up = link.link_status == RTE_ETH_LINK_UP;
	out->full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	return 0;
}

/* ---- the log ---- */

/* What DPDK says is kept here until somebody asks; when nobody does, the oldest goes. */
static struct {
	pthread_mutex_t lock;
	size_t len;
	char text[16384];
} log_buffer = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void log_keep(const char *text, size_t n)
{
	const size_t room = sizeof(log_buffer.text);
	size_t keep = n < room ? n : room;

	pthread_mutex_lock(&log_buffer.lock);
	if (log_buffer.len + keep > room) {
		size_t drop = log_buffer.len + keep - room;

		memmove(log_buffer.text, log_buffer.text + drop, log_buffer.len - drop);
		log_buffer.len -= drop;
	}
	memcpy(log_buffer.text + log_buffer.len, text + (n - keep), keep);
	log_buffer.len += keep;
	pthread_mutex_unlock(&log_buffer.lock);
}

static ssize_t log_write(void *cookie, const char *text, size_t n)
{
	(void)cookie;
	/* rte_panic and its like log at CRIT and then abort: nobody will ask for the buffer any more. */
	if (rte_log_cur_msg_loglevel() <= (int)RTE_LOG_CRIT)
		fwrite(text, 1, n, stderr);
	log_keep(text, n);
	return (ssize_t)n;
}

int tl_log_divert(void)
{
	cookie_io_functions_t calls = { .write = log_write };
	FILE *stream = fopencookie(NULL, "w", calls);

	if (stream == NULL)
		return -errno;
	setvbuf(stream, NULL, _IONBF, 0);
	return rte_openlog_stream(stream) == 0 ? 0 : -EINVAL;
}

/* The type of both libraries' printing functions; level 0 is a warning or worse. */
static int print_xdp(int level, const char *format, va_list args)
{
	char line[512];
	int n;

	if (level != 0)
		return 0;
	n = vsnprintf(line, sizeof(line), format, args);
	if (n > 0)
		log_keep(line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
	return n;
}

void tl_log_divert_xdp(void)
{
	static const char *const names[][2] = {
		{ "libxdp.so.1", "libxdp_set_print" },
		{ "libbpf.so.1", "libbpf_set_print" },
		{ "libbpf.so.0", "libbpf_set_print" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		void *library = dlopen(names[i][0], RTLD_NOW | RTLD_NOLOAD);
		void *(*set_print)(int (*)(int, const char *, va_list));

		if (library == NULL)
			continue;
		*(void **)&set_print = dlsym(library, names[i][1]);
		if (set_print != NULL)
			set_print(print_xdp);
		dlclose(library);
	}
}

struct zones {
	struct tl_zone *out;
	size_t room;
	size_t n;
};

static void note_zone(const struct rte_memzone *zone, void *arg)
{
	struct zones *all = arg;

	if (all->n < all->room) {
		struct tl_zone *to = &all->out[all->n];

		_Static_assert(sizeof(to->name) <= sizeof(zone->name), "the whole name is there to be copied");
		memset(to, 0, sizeof(*to));
		memcpy(to->name, zone->name, sizeof(to->name) - 1);
		to->at = zone->addr_64;
		to->len = zone->len;
		to->node = zone->socket_id;
	}
	all->n++;
}

size_t tl_zones(struct tl_zone *out, size_t room)
{
	struct zones all = { out, room, 0 };

	rte_memzone_walk(note_zone, &all);
	return all.n;
}

size_t tl_log_take(char *out, size_t n)
{
	pthread_mutex_lock(&log_buffer.lock);
	if (n > log_buffer.len)
		n = log_buffer.len;
	memcpy(out, log_buffer.text, n);
	memmove(log_buffer.text, log_buffer.text + n, log_buffer.len - n);
	log_buffer.len -= n;
	pthread_mutex_unlock(&log_buffer.lock);
	return n;
}
