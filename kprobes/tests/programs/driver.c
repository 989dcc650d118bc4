/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Makes the system calls that it is told, one after the other, with arguments in memory of its own. It says its number in the
 * procfs that is mounted first, which is not its own in a pid namespace.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARGUMENTS 6
#define BUFFER 16384

enum place {
	AS_IT_STANDS, /* value is passed */
	IN_MEMORY,    /* value bytes follow the request */
	ABSENT,       /* likewise, and their page is not resident until somebody touches it */
};

struct request {
	uint64_t number;
	struct {
		uint64_t value;
		uint64_t place;
	} arguments[ARGUMENTS];
};

static char buffers[ARGUMENTS][BUFFER];

static void all(ssize_t (*move)(int, void *, size_t), int fd, void *bytes, size_t len)
{
	while (len) {
		ssize_t moved = move(fd, bytes, len);

		if (moved <= 0)
			exit(moved != 0);
		bytes = (char *)bytes + moved;
		len -= moved;
	}
}

static ssize_t write_bytes(int fd, void *bytes, size_t len)
{
	return write(fd, bytes, len);
}

/* A fresh mapping of a file: the bytes are in the page cache, and nothing is in the page table. */
static void *absent(const char *bytes, size_t len)
{
	int fd = memfd_create("absent", MFD_CLOEXEC);
	void *mapped = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, BUFFER) && pwrite(fd, bytes, len, 0) == (ssize_t)len)
		mapped = mmap(0, BUFFER, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED)
		exit(2);
	close(fd);
	return mapped;
}

int main(void)
{
	char self[32] = "";
	uint64_t pid;

	if (readlink("/proc/self", self, sizeof self - 1) < 0)
		return 2;
	pid = strtoul(self, 0, 10);
	all(write_bytes, 1, &pid, sizeof pid);
	for (;;) {
		struct request request;
		uint64_t values[ARGUMENTS];
		void *mapped[ARGUMENTS] = { 0 };
		int64_t result;

		all(read, 0, &request, sizeof request);
		for (int i = 0; i < ARGUMENTS; i++) {
			values[i] = request.arguments[i].value;
			if (request.arguments[i].place == AS_IT_STANDS)
				continue;
			if (values[i] > BUFFER)
				return 2;
			all(read, 0, buffers[i], values[i]);
			if (request.arguments[i].place == ABSENT)
				mapped[i] = absent(buffers[i], values[i]);
			values[i] = (uint64_t)(mapped[i] ? mapped[i] : buffers[i]);
		}
		result = syscall(request.number, values[0], values[1], values[2], values[3], values[4], values[5]);
		if (result == -1)
			result = -errno;
		for (int i = 0; i < ARGUMENTS; i++)
			if (mapped[i])
				munmap(mapped[i], BUFFER);
		all(write_bytes, 1, &result, sizeof result);
	}
}
