/* Preloaded into a DPDK program (LD_PRELOAD): on SIGUSR1 appends "PACKETS TSC TSC_HZ" to the file that FORWARD_PROBE
 * names, PACKETS being what all its ports have received. So testpmd and l3fwd are read in the same way, between two
 * readings of one clock, and neither is changed for it. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>

static int out = -1;

static void say(int signal)
{
	struct rte_eth_stats s;
	unsigned long long packets = 0;
	char line[96];
	uint16_t port;
	int n;

	(void)signal;
	RTE_ETH_FOREACH_DEV(port)
		if (rte_eth_stats_get(port, &s) == 0)
			packets += s.ipackets;
	n = snprintf(line, sizeof(line), "%llu %llu %llu\n", packets,
		     (unsigned long long)rte_rdtsc(), (unsigned long long)rte_get_tsc_hz());
	if (out >= 0 && write(out, line, n) != n)
		_exit(3);
}

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("FORWARD_PROBE");
	struct sigaction act = { .sa_handler = say, .sa_flags = SA_RESTART };

	if (path == NULL)
		return;
	unsetenv("LD_PRELOAD");
	/* The file is the sign that signals can come. */
	sigaction(SIGUSR1, &act, NULL);
	out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}
