/*
 * Does what a test watches:
 *
 *     activity OPERATION ARGUMENT... [, OPERATION ARGUMENT...]...
 *
 * and prints a line for each operation: its name and 0, or the errno with which it failed, or a count.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static sigjmp_buf no_call32;

static void on_no_call32(int signal)
{
	(void)signal;
	siglongjmp(no_call32, 1);
}

static long fail(void)
{
	return -errno;
}

/* open(2) as one system call, so that a count of calls is a count of calls */
static int open_raw(const char *path, int flags)
{
	return syscall(SYS_openat, AT_FDCWD, path, flags, 0644);
}

/* What hooks on user programs watch: functions with names of their own, and a static probe with a counter of those who watch. */

__attribute__((noinline)) int watched_number(int number, long wide)
{
	__asm__ volatile("" ::: "memory");
	return number - (int)wide;
}

__attribute__((noinline)) long watched_text(const char *text)
{
	__asm__ volatile("" ::: "memory");
	return (long)strlen(text);
}

/* Calls itself: a return belongs to the call that was made last. */
__attribute__((noinline)) long watched_depth(long depth)
{
	long below = depth ? watched_depth(depth - 1) : -1;

	__asm__ volatile("" : "+r"(below)); /* or it would be made a loop */
	return below + 1;
}

/* As <sys/sdt.h> writes it, which not every machine has. */
__attribute__((used, section(".probes"))) volatile unsigned short watched_semaphore;

__attribute__((noinline)) void watched_probe(int number, const char *text, long *memory)
{
	__asm__ volatile("990: nop\n"
			 ".pushsection .note.stapsdt, \"\", \"note\"\n"
			 ".balign 4\n"
			 ".4byte 992f-991f, 994f-993f, 3\n"
			 "991: .asciz \"stapsdt\"\n"
			 "992: .balign 4\n"
			 "993: .8byte 990b, 0, watched_semaphore\n"
			 ".asciz \"tetra\"\n"
			 ".asciz \"watched\"\n"
			 ".asciz \"-4@%k0 8@%1 -4@$-3 -8@8(%2) -8@(%2,%3,8)\"\n"
			 "994: .balign 4\n"
			 ".popsection\n" ::"r"(number), "r"(text), "r"(memory), "r"(2L) : "memory");
}

static long op_number(char **argument)
{
	return watched_number(atoi(argument[0]), atol(argument[1]));
}

static long op_text(char **argument)
{
	return watched_text(argument[0]);
}

static long op_depth(char **argument)
{
	return watched_depth(atol(argument[0]));
}

/* How many watch. */
static long op_probe(char **argument)
{
	long memory[3] = { 0, -11, 12 };

	watched_probe(atoi(argument[0]), argument[1], memory);
	return watched_semaphore;
}

static long op_open(char **argument)
{
	int fd = open_raw(argument[0], O_RDONLY);
	if (fd < 0)
		return fail();
	close(fd);
	return 0;
}

static long op_read(char **argument)
{
	char byte;
	int fd = open_raw(argument[0], O_RDONLY);
	if (fd < 0)
		return fail();
	long result = pread(fd, &byte, 1, 0) < 0 ? fail() : 0;
	close(fd);
	return result;
}

static long op_read_unlinked(char **argument)
{
	char byte;
	int fd = open_raw(argument[0], O_RDONLY);
	if (fd < 0 || unlink(argument[0]))
		return fail();
	long result = pread(fd, &byte, 1, 0) < 0 ? fail() : 0;
	close(fd);
	return result;
}

static long op_write(char **argument)
{
	int fd = open_raw(argument[0], O_WRONLY | O_CREAT);
	if (fd < 0)
		return fail();
	long result = pwrite(fd, "x", 1, 0) < 0 ? fail() : 0;
	close(fd);
	return result;
}

static long op_truncate(char **argument)
{
	return truncate(argument[0], 0) ? fail() : 0;
}

static long map(const char *path, int writable, int flags)
{
	int fd = open_raw(path, writable ? O_RDWR : O_RDONLY);
	if (fd < 0)
		return fail();
	void *at = mmap(NULL, 4096, PROT_READ | (writable ? PROT_WRITE : 0), flags, fd, 0);
	long result = at == MAP_FAILED ? fail() : 0;
	if (!result)
		munmap(at, 4096);
	close(fd);
	return result;
}

static long op_map_shared(char **argument)
{
	return map(argument[0], 0, MAP_SHARED);
}

static long op_map_shared_writable(char **argument)
{
	return map(argument[0], 1, MAP_SHARED);
}

static long op_map_private(char **argument)
{
	return map(argument[0], 0, MAP_PRIVATE);
}

static long op_mkdir(char **argument)
{
	return mkdir(argument[0], 0755) ? fail() : 0;
}

static long op_setuid(char **argument)
{
	return syscall(SYS_setuid, atoi(argument[0])) ? fail() : 0;
}

/* call NUMBER: the system call of that number, by the 64-bit ABI */
static long op_call(char **argument)
{
	return syscall(atoi(argument[0]), 0, 0, 0) < 0 ? fail() : 0;
}

/*
 * call32 NUMBER: the same by the 32-bit ABI, which a program of 64 bits can use, too. A kernel without it sends SIGSEGV, which is
 * its own answer.
 */
static long op_call32(char **argument)
{
	long result = atoi(argument[0]);

	signal(SIGSEGV, on_no_call32);
	if (sigsetjmp(no_call32, 1))
		return -ENOSYS;
	__asm__ volatile("int $0x80" : "+a"(result) : "b"(0), "c"(0), "d"(0) : "memory", "r8", "r9", "r10", "r11");
	signal(SIGSEGV, SIG_DFL);
	return result < 0 ? result : 0;
}

/* connect ADDRESS PORT: IPv6 if there is a colon in the address */
static long op_connect(char **argument)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(atoi(argument[1])) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(argument[1])) };
	int is_v6 = strchr(argument[0], ':') != NULL;
	if (inet_pton(is_v6 ? AF_INET6 : AF_INET, argument[0], is_v6 ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr) != 1)
		return -EINVAL;
	int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	if (fd < 0)
		return fail();
	long result = connect(fd, is_v6 ? (void *)&v6 : (void *)&v4, is_v6 ? sizeof v6 : sizeof v4) ? fail() : 0;
	close(fd);
	return result;
}

/* repeat-open PATH COUNT: how many succeeded */
static long op_repeat_open(char **argument)
{
	long done = 0;
	for (int i = atoi(argument[1]); i > 0; i--)
		done += op_open(argument) == 0;
	return done;
}

/*
 * mapped-open FILE COUNT touch|cold: opens the path that FILE's first page holds, with the page mapped afresh for each
 * call, and touched before it or not; how many calls were made
 */
static long op_mapped_open(char **argument)
{
	int fd = open_raw(argument[0], O_RDONLY);
	if (fd < 0)
		return fail();
	long made = 0;
	for (int i = atoi(argument[1]); i > 0; i--) {
		volatile const char *path = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
		if (path == MAP_FAILED)
			return fail();
		if (!strcmp(argument[2], "touch"))
			(void)path[0];
		int opened = open_raw((const char *)path, O_RDONLY);
		if (opened >= 0)
			close(opened);
		made++;
		munmap((void *)path, 4096);
	}
	close(fd);
	return made;
}

/* open-until PATH STOP: opens PATH about every half millisecond until the file STOP exists; how often */
static long op_open_until(char **argument)
{
	long opened = 0;
	while (access(argument[1], F_OK)) {
		struct timespec pause = { 0, 500 * 1000 };
		opened += op_open(argument) == 0;
		nanosleep(&pause, NULL);
	}
	return opened;
}

/*
 * attempt-until PATH STOP: opens PATH about every half millisecond until the file STOP exists; how many attempts
 * there were, on a line of its own, then how many of them succeeded
 */
static long op_attempt_until(char **argument)
{
	long attempts = 0, opened = 0;
	while (access(argument[1], F_OK)) {
		struct timespec pause = { 0, 500 * 1000 };
		opened += op_open(argument) == 0;
		attempts++;
		nanosleep(&pause, NULL);
	}
	printf("attempts %ld\n", attempts);
	return opened;
}

static int spawn(char **arguments)
{
	int status;
	pid_t child = vfork();
	if (child == 0) {
		execv(arguments[0], arguments);
		_exit(127);
	}
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* spawn COUNT PROGRAM: vfork, exec of `PROGRAM exit` and wait, that often; how many ended with status 0 */
static long op_spawn(char **argument)
{
	char *arguments[] = { argument[1], "exit", NULL };
	long done = 0;
	for (int i = atoi(argument[0]); i > 0; i--)
		done += spawn(arguments);
	return done;
}

static long op_exit(char **argument)
{
	(void)argument;
	_exit(0);
}

static long op_raise(char **argument)
{
	kill(getpid(), atoi(argument[0]));
	return 0;
}

/* unshare FLAGS */
static long op_unshare(char **argument)
{
	return unshare(strtol(argument[0], NULL, 0)) ? errno : 0;
}

static const struct operation {
	const char *name;
	int arguments;
	long (*run)(char **argument);
} operations[] = {
	{ "number", 2, op_number },
	{ "text", 1, op_text },
	{ "depth", 1, op_depth },
	{ "probe", 2, op_probe },
	{ "open", 1, op_open },
	{ "read", 1, op_read },
	{ "read-unlinked", 1, op_read_unlinked },
	{ "write", 1, op_write },
	{ "truncate", 1, op_truncate },
	{ "map-shared", 1, op_map_shared },
	{ "map-shared-writable", 1, op_map_shared_writable },
	{ "map-private", 1, op_map_private },
	{ "mkdir", 1, op_mkdir },
	{ "setuid", 1, op_setuid },
	{ "call", 1, op_call },
	{ "call32", 1, op_call32 },
	{ "connect", 2, op_connect },
	{ "repeat-open", 2, op_repeat_open },
	{ "mapped-open", 3, op_mapped_open },
	{ "open-until", 2, op_open_until },
	{ "attempt-until", 2, op_attempt_until },
	{ "spawn", 2, op_spawn },
	{ "exit", 0, op_exit },
	{ "raise", 1, op_raise },
	{ "unshare", 1, op_unshare },
	{ NULL, 0, NULL },
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int at = 1; at < argc; at++) {
		const struct operation *operation = operations;
		while (operation->name && strcmp(operation->name, argv[at]))
			operation++;
		if (!operation->name || at + operation->arguments >= argc) {
			fprintf(stderr, "activity: `%s`: no such operation, or arguments are missing\n", argv[at]);
			return 2;
		}
		long result = operation->run(argv + at + 1);
		printf("%s %ld\n", operation->name, result < 0 ? -result : result);
		at += operation->arguments + 1;
		if (at < argc && strcmp(argv[at], ",")) {
			fprintf(stderr, "activity: `%s`: expected a comma\n", argv[at]);
			return 2;
		}
	}
	return 0;
}
