/*
 * The first process of a lab guest, static, in two phases.
 *
 * Phase 1 (as /init of the initial ramdisk) loads the virtio modules, mounts the host's root by virtiofs as the read-only
 * lower layer of an overlay whose upper layer is a tmpfs, moves into it and executes itself again.
 *
 * Phase 2 (as /run/lab-init) takes a command over a virtio-serial port, runs it with pipes as its standard streams,
 * sends its output back and at last its status. The host then ends the machine.
 *
 * Frames, both ways: u8 type, u32 length (little endian), data.
 *   host to guest:  'a' one argument   'd' working directory   'v' NAME=VALUE   'i' input   'z' end of input   'r' run
 *   guest to host:  'o' output   'e' error output   'x' status, in decimal
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT_NAME "tetra-lab"
#define ROOT "/newroot"

static void say(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fputs("lab: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
}

static void give_up(const char *what)
{
	say("%s: %s", what, strerror(errno));
	sleep(1); /* the console is written by interrupt: let it drain */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

/* ---- phase 1 ---- */

static void must_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
	if (mount(source, target, type, flags, data))
		give_up(target);
}

/* For file systems a kernel may lack: says so and goes on. */
static void may_mount(const char *source, const char *target, const char *type, const char *data)
{
	mkdir(target, 0755);
	if (mount(source, target, type, 0, data))
		say("mount %s on %s: %s", type, target, strerror(errno));
}

static void load_modules(void)
{
	char name[256];
	FILE *list = fopen("/modules/list", "re");
	if (!list)
		return;
	while (fscanf(list, "%255s", name) == 1) {
		char path[300];
		snprintf(path, sizeof path, "/modules/%s", name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			say("module %s: %s", name, strerror(errno));
		close(fd);
	}
	fclose(list);
}

static void parents(char *path)
{
	for (char *p = path + 1; *p; p++)
		if (*p == '/') {
			*p = 0;
			mkdir(path, 0755);
			*p = '/';
		}
	mkdir(path, 0755);
}

/* /lab.conf of the initial ramdisk or the command line: value of `lab.KEY=` on the kernel's command line. */
static int parameter(const char *key, char *value, size_t size)
{
	static char line[4096];
	if (!line[0]) {
		int fd = open(ROOT "/proc/cmdline", O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, line, sizeof line - 1) < 0)
			return 0;
		close(fd);
	}
	char wanted[64];
	snprintf(wanted, sizeof wanted, "lab.%s=", key);
	char *at = strstr(line, wanted);
	if (!at)
		return 0;
	at += strlen(wanted);
	size_t n = strcspn(at, " \n");
	if (n >= size)
		return 0;
	memcpy(value, at, n);
	value[n] = 0;
	return 1;
}

/* Modules of the running kernel, where modprobe looks for them. */
static void link_modules(void)
{
	char tree[1024], target[2048], link[512];
	struct utsname name;
	uname(&name);
	if (!parameter("modules", tree, sizeof tree))
		return;
	snprintf(target, sizeof target, "%s/%s", tree, name.release);
	snprintf(link, sizeof link, ROOT "/usr/lib/modules");
	parents(link);
	snprintf(link, sizeof link, ROOT "/usr/lib/modules/%s", name.release);
	if (symlink(target, link) && errno != EEXIST)
		say("%s: %s", link, strerror(errno));
}

/* Writable directories of the host: virtiofs tags share0, share1, … on the paths in lab.shares=A,B. */
static void mount_shares(void)
{
	char shares[2048], *rest = NULL;
	int index = 0;
	if (!parameter("shares", shares, sizeof shares))
		return;
	for (char *path = strtok_r(shares, ",", &rest); path; path = strtok_r(NULL, ",", &rest)) {
		char tag[16], target[1200];
		snprintf(tag, sizeof tag, "share%d", index++);
		snprintf(target, sizeof target, ROOT "%s", path);
		parents(target);
		must_mount(tag, target, "virtiofs", 0, NULL);
	}
}

static void loopback_up(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		say("lo: %s", strerror(errno));
	close(fd);
}

static void copy(const char *from, const char *to)
{
	static char buffer[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	ssize_t n;
	if (in < 0 || out < 0)
		give_up(to);
	while ((n = read(in, buffer, sizeof buffer)) > 0)
		if (write(out, buffer, n) != n)
			give_up(to);
	close(in);
	close(out);
}

static void enter_root(void)
{
	must_mount("dev", "/dev", "devtmpfs", 0, NULL);
	must_mount("proc", "/proc", "proc", 0, NULL);
	must_mount("sys", "/sys", "sysfs", 0, NULL);
	load_modules();
	must_mount("root", "/lower", "virtiofs", MS_RDONLY, NULL);
	must_mount("upper", "/upper", "tmpfs", 0, "size=80%");
	mkdir("/upper/data", 0755);
	mkdir("/upper/work", 0755);
	must_mount("root", ROOT, "overlay", 0, "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work");

	static const char *const moved[] = { "/dev", "/proc", "/sys" };
	for (int i = 0; i < 3; i++) {
		char target[32];
		snprintf(target, sizeof target, ROOT "%s", moved[i]);
		mkdir(target, 0755);
		must_mount(moved[i], target, NULL, MS_MOVE, NULL);
	}
	may_mount("run", ROOT "/run", "tmpfs", NULL);
	may_mount("devpts", ROOT "/dev/pts", "devpts", NULL);
	may_mount("shm", ROOT "/dev/shm", "tmpfs", NULL);
	may_mount("bpf", ROOT "/sys/fs/bpf", "bpf", NULL);
	may_mount("debugfs", ROOT "/sys/kernel/debug", "debugfs", NULL);
	may_mount("tracefs", ROOT "/sys/kernel/tracing", "tracefs", NULL);
	may_mount("securityfs", ROOT "/sys/kernel/security", "securityfs", NULL);
	may_mount("cgroup2", ROOT "/sys/fs/cgroup", "cgroup2", NULL);
	static const char *const links[][2] = { { "/proc/self/fd", "/dev/fd" }, { "fd/0", "/dev/stdin" },
						{ "fd/1", "/dev/stdout" }, { "fd/2", "/dev/stderr" } };
	for (int i = 0; i < 4; i++) {
		char link[32];
		snprintf(link, sizeof link, ROOT "%s", links[i][1]);
		if (symlink(links[i][0], link) && errno != EEXIST)
			say("%s: %s", link, strerror(errno));
	}
	link_modules();
	mount_shares();
	loopback_up();
	sethostname("lab", 3);

	copy("/init", ROOT "/run/lab-init");
	if (chdir(ROOT) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		give_up("entering the root");
	execl("/run/lab-init", "/run/lab-init", (char *)NULL);
	give_up("/run/lab-init");
}

/* ---- phase 2 ---- */

static int port;

static void write_all(int fd, const void *data, size_t n)
{
	for (const char *p = data; n;) {
		ssize_t r = write(fd, p, n);
		if (r < 0) {
			struct pollfd writable = { fd, POLLOUT, 0 };
			if (errno != EINTR && errno != EAGAIN)
				return;
			poll(&writable, 1, 100);
			continue;
		}
		p += r;
		n -= r;
	}
}

static void read_all(void *data, size_t n)
{
	for (char *p = data; n;) {
		ssize_t r = read(port, p, n);
		if (r > 0) {
			p += r;
			n -= r;
		} else if (r < 0 && errno != EINTR && errno != EAGAIN) {
			give_up("command channel");
		} else {
			/* a port whose host side is not connected yet reads as end of file */
			struct pollfd readable = { port, POLLIN, 0 };
			poll(&readable, 1, 10);
			if (readable.revents & POLLHUP)
				usleep(5000);
		}
	}
}

static void send_frame(char type, const void *data, uint32_t n)
{
	char head[5] = { type };
	memcpy(head + 1, &n, 4);
	write_all(port, head, sizeof head);
	write_all(port, data, n);
}

/* The next frame, its data allocated and ended by a NUL. */
static char *receive_frame(char *type, uint32_t *n)
{
	read_all(type, 1);
	read_all(n, 4);
	char *data = malloc(*n + 1);
	if (!data)
		give_up("frame");
	read_all(data, *n);
	data[*n] = 0;
	return data;
}

static int open_port(void)
{
	for (int tries = 0; tries < 2000; tries++) {
		DIR *ports = opendir("/sys/class/virtio-ports");
		for (struct dirent *entry; ports && (entry = readdir(ports));) {
			char path[600], name[64] = "";
			snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
			int fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				continue;
			ssize_t n = read(fd, name, sizeof name - 1);
			close(fd);
			if (n <= 0 || strncmp(name, PORT_NAME, strlen(PORT_NAME)))
				continue;
			snprintf(path, sizeof path, "/dev/%s", entry->d_name);
			fd = open(path, O_RDWR | O_CLOEXEC);
			if (fd >= 0) {
				closedir(ports);
				return fd;
			}
		}
		if (ports)
			closedir(ports);
		usleep(5000);
	}
	return -1;
}

static void run_command(void)
{
	enum { MAX_ARGUMENTS = 4096 };
	static char *arguments[MAX_ARGUMENTS + 1];
	int count = 0;
	const char *directory = "/";
	char type = 0;
	uint32_t n;

	clearenv();
	while (type != 'r') {
		char *data = receive_frame(&type, &n);
		if (type == 'a' && count < MAX_ARGUMENTS)
			arguments[count++] = data;
		else if (type == 'd')
			directory = data;
		else if (type == 'v')
			putenv(data);
	}
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	setrlimit(RLIMIT_MEMLOCK, &limit);
	limit.rlim_cur = limit.rlim_max = 65536;
	setrlimit(RLIMIT_NOFILE, &limit);

	int in[2], out[2], err[2];
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		give_up("pipe");
	signal(SIGPIPE, SIG_IGN);
	pid_t child = fork();
	if (child < 0)
		give_up("fork");
	if (!child) {
		setsid();
		signal(SIGPIPE, SIG_DFL);
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		if (chdir(directory)) {
			say("%s: %s", directory, strerror(errno));
			_exit(126);
		}
		execvp(arguments[0], arguments);
		say("%s: %s", arguments[0], strerror(errno));
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);

	struct pollfd fds[3] = { { out[0], POLLIN, 0 }, { err[0], POLLIN, 0 }, { port, POLLIN, 0 } };
	static char buffer[65536];
	int ended = 0, status = 0;
	for (;;) {
		int moved = 0;
		poll(fds, 3, ended ? 0 : 20);
		for (int i = 0; i < 2; i++) {
			if (fds[i].fd < 0)
				continue;
			ssize_t r = read(fds[i].fd, buffer, sizeof buffer);
			if (r > 0) {
				send_frame(i ? 'e' : 'o', buffer, r);
				moved = 1;
			} else if (r == 0) {
				fds[i].fd = -1;
			}
		}
		if ((fds[2].revents & POLLIN) && !ended) {
			char *data = receive_frame(&type, &n);
			if (type == 'i')
				write_all(in[1], data, n);
			else if (type == 'z')
				close(in[1]);
			free(data);
		}
		/* a child left behind may hold the pipes: what is in them when the command has ended is all that is sent */
		if (ended && !moved)
			break;
		int s;
		for (pid_t p; (p = waitpid(-1, &s, WNOHANG)) > 0;)
			if (p == child) {
				ended = 1;
				status = WIFEXITED(s) ? WEXITSTATUS(s) : 128 + WTERMSIG(s);
			}
	}
	char text[16];
	send_frame('x', text, snprintf(text, sizeof text, "%d", status));
}

int main(int argc, char **argv)
{
	(void)argc;
	if (!strcmp(argv[0], "/init"))
		enter_root();
	port = open_port();
	if (port < 0)
		give_up("no command channel");
	run_command();
	for (;;)
		pause();
}
