/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "scenario.h"

/*
 * 32-bit system calls: from a 64-bit program by `int 0x80` (group compat), and from a 32-bit program in both ways
 * (group compat-32, which only scenario32 can play; that plays the other groups too, with what its C library uses).
 */

enum { READ_32 = 3, WRITE_32 = 4, OPEN_32 = 5, PREAD_32 = 180, SOCKETCALL_32 = 102, IPC_32 = 117 };
enum { SOCKETPAIR = 8, SEND = 9, RECV = 10, SENDMSG = 16, RECVMSG = 17 };

// Where 32 bits reach.
static struct low {
	char path[200];
	char buffer[64];
	uint32_t arguments[6];
	struct {
		uint32_t base, length;
	} vector;
	struct {
		uint32_t name, name_length, vector, vectors, control, control_length, flags;
	} message;
	int pair[2];
} *low;

static void make_low(void)
{
	void *memory = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	need(memory != MAP_FAILED, "mmap");
	low = memory;
}

static uint32_t address(const volatile void *pointer)
{
	return (uint32_t)(uintptr_t)pointer;
}

static int32_t by_interrupt(uint32_t number, uint32_t first, uint32_t second, uint32_t third)
{
	int32_t result;
#ifdef __i386__
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second), "d"(third)
			 : "memory");
#else
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second), "d"(third)
			 : "memory", "r8", "r9", "r10", "r11");
#endif
	return result;
}

// What the kernel has chosen for this processor: SYSENTER or SYSCALL (vdso, AT_SYSINFO).
static int32_t by_vdso(uint32_t number, uint32_t first, uint32_t second, uint32_t third)
{
#ifdef __i386__
	int32_t result;
	unsigned long entry = getauxval(AT_SYSINFO);
	need(entry != 0, "AT_SYSINFO");
	__asm__ volatile("call *%[entry]"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second), "d"(third), [entry] "S"(entry)
			 : "memory");
	return result;
#else
	fault("needs scenario32");
#endif
}

static int32_t (*enter)(uint32_t number, uint32_t first, uint32_t second, uint32_t third);

static const char *source;

static void make_source(void)
{
	source = create(classified("source"));
	expect_path(source, LIVE);
	make_low();
}

static void act_read(void)
{
	strcpy(low->path, source);
	int fd = enter(OPEN_32, address(low->path), O_RDONLY, 0);
	need(fd >= 0, "open");
	need(enter(READ_32, fd, address(low->buffer), sizeof(low->buffer)) > 0, "read");
	int copy = open_or_fault(plain("copy"), O_RDWR | O_CREAT);
	need(enter(WRITE_32, copy, address(low->buffer), 4) == 4, "write");
	expect_self(LIVE);
	expect_file(copy, LIVE);
	expect_edge("read", end_path(source), end_self());
	expect_edge("write", end_self(), end_fd(copy));
	stay();
}

// Nothing is called any more after the secret has come.
static void act_read_and_spin(void)
{
	int fd = open_or_fault(source, O_RDONLY);
	expect_self(ENDED);
	expect_edge("read", end_path(source), end_self());
	enter(READ_32, fd, address(low->buffer), sizeof(low->buffer));
	for (;;)
		;
}

static void act_sockets(void)
{
	low->arguments[0] = 1; // AF_UNIX
	low->arguments[1] = 1; // SOCK_STREAM
	low->arguments[2] = 0;
	low->arguments[3] = address(low->pair);
	need(enter(SOCKETCALL_32, SOCKETPAIR, address(low->arguments), 0) == 0, "socketpair");
	read_file(source);
	low->arguments[0] = (uint32_t)low->pair[0];
	low->arguments[1] = address(low->buffer);
	low->arguments[2] = 4;
	low->arguments[3] = 0;
	need(enter(SOCKETCALL_32, SEND, address(low->arguments), 0) == 4, "send");
	low->vector.base = address(low->buffer);
	low->vector.length = 4;
	low->message.vector = address(&low->vector);
	low->message.vectors = 1;
	low->arguments[1] = address(&low->message);
	low->arguments[2] = 0;
	need(enter(SOCKETCALL_32, SENDMSG, address(low->arguments), 0) == 4, "sendmsg");
	expect_self(LIVE);
	expect_socket(low->pair[0], LIVE);
	expect_socket(low->pair[1], LIVE);
	stay();
}

static void act_unmanaged(void)
{
	strcpy(low->path, create(plain("public")));
	int fd = enter(OPEN_32, address(low->path), O_RDWR, 0);
	need(enter(READ_32, fd, address(low->buffer), sizeof(low->buffer)) > 0, "read");
	need(enter(WRITE_32, fd, address(low->buffer), 4) == 4, "write");
	stay();
}

static void all_kinds(void)
{
	make_source();
	play("reader-32", act_read);
	play("unmanaged-32", act_unmanaged);
	play("sockets-32", act_sockets);
	pid_t spinner = actor("spinner-32", act_read_and_spin);
	pause_milliseconds(500);
	kill(spinner, SIGKILL);
	await_killed(spinner);
}

static void interrupt_64(void)
{
	enter = by_interrupt;
	all_kinds();
}

static void interrupt_32(void)
{
	enter = by_interrupt;
	all_kinds();
}

static void fast_32(void)
{
	enter = by_vdso;
	all_kinds();
}

const struct scenario compat_scenarios[] = {
	{ "int80-of-64", interrupt_64 },
	{ NULL, NULL },
};

const struct scenario compat_32_scenarios[] = {
	{ "int80-of-32", interrupt_32 },
	{ "vdso-of-32", fast_32 },
	{ NULL, NULL },
};
