/*
 * Counts the instructions of one operation on a guest whose clock counts instructions (`cargo xtask lab --icount`).
 *
 *     bench OPERATION [FILE]
 *
 * prints the instructions of one turn of the operation's loop: the least over RUNS runs, so that timer ticks and
 * deferred work of the kernel are left out. It runs as SCHED_FIFO, so that nothing else runs in between, and sleeps
 * between runs, so that the agent can empty its ring buffers.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static void fail(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static const char *file;
static int opened, listener;
static struct sockaddr_in address;

static void do_getpid(void)
{
	syscall(SYS_getpid);
}

static void do_setuid(void)
{
	if (syscall(SYS_setuid, 0))
		fail("setuid");
}

static void do_pread(void)
{
	char byte;
	if (pread(opened, &byte, 1, 0) != 1)
		fail("pread");
}

static void do_open(void)
{
	int fd = open(file, O_RDONLY);
	if (fd < 0)
		fail(file);
	close(fd);
}

static void do_fork(void)
{
	pid_t child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (child == 0)
		syscall(SYS_exit_group, 0);
	if (child < 0 || waitpid(child, NULL, 0) != child)
		fail("fork");
}

static void do_exec(void)
{
	static char *arguments[] = { "true", NULL };
	static char *environment[] = { NULL };
	pid_t child = vfork();
	if (child == 0) {
		execve(file, arguments, environment);
		_exit(127);
	}
	int status;
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		fail("exec");
}

static void do_tcp(void)
{
	int client = socket(AF_INET, SOCK_STREAM, 0);
	if (client < 0 || connect(client, (struct sockaddr *)&address, sizeof address))
		fail("connect");
	int server = accept(listener, NULL, NULL);
	if (server < 0)
		fail("accept");
	close(client);
	close(server);
}

static void prepare_pread(void)
{
	opened = open(file, O_RDONLY);
	if (opened < 0)
		fail(file);
}

static void prepare_tcp(void)
{
	socklen_t length = sizeof address;
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16) ||
	    getsockname(listener, (struct sockaddr *)&address, &length))
		fail("listen");
}

static const struct operation {
	const char *name;
	void (*run)(void);
	void (*prepare)(void);
	int turns; /* few enough that a run rarely meets a timer tick and its records fit the ring buffers */
} operations[] = {
	{ "getpid", do_getpid, NULL, 500 },	 { "setuid", do_setuid, NULL, 100 },
	{ "pread", do_pread, prepare_pread, 100 }, { "open", do_open, NULL, 100 },
	{ "fork", do_fork, NULL, 2 },		 { "exec", do_exec, NULL, 2 },
	{ "tcp", do_tcp, prepare_tcp, 4 },	 { NULL, NULL, NULL, 0 },
};

int main(int argc, char **argv)
{
	enum { RUNS = 100, WARM_UP = 10 };
	const struct operation *operation = operations;
	if (argc < 2)
		return 2;
	while (operation->name && strcmp(operation->name, argv[1]))
		operation++;
	if (!operation->name) {
		fprintf(stderr, "bench: no operation `%s`\n", argv[1]);
		return 2;
	}
	file = argc > 2 ? argv[2] : NULL;
	if (operation->prepare)
		operation->prepare();

	struct sched_param parameters = { .sched_priority = 50 };
	if (sched_setscheduler(0, SCHED_FIFO, &parameters))
		fail("sched_setscheduler");

	uint64_t least = UINT64_MAX;
	for (int run = 0; run < WARM_UP + RUNS; run++) {
		struct timespec pause = { 0, 40 * 1000 * 1000 };
		nanosleep(&pause, NULL);
		uint64_t begin = __rdtsc();
		for (int turn = 0; turn < operation->turns; turn++)
			operation->run();
		uint64_t count = __rdtsc() - begin;
		if (run >= WARM_UP && count < least)
			least = count;
	}
	printf("%llu\n", (unsigned long long)((least + operation->turns / 2) / operation->turns));
	return 0;
}
