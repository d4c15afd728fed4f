/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_TERMINAL_H
#define NIJIMI_GUEST_TERMINAL_H

#include "guest/file.h"

enum guest_terminal_kind {
	GUEST_TERMINAL_DEVICE, // what is written to it leaves the guest, or is drawn
	GUEST_TERMINAL_MASTER, // of a pseudo-terminal: what is written comes out of its slave
	GUEST_TERMINAL_SLAVE,  // and the other way round
};

/** A terminal (struct tty_struct). */
struct guest_terminal {
	uint64_t address;
	uint64_t other; // the other end of a pseudo-terminal
	uint32_t index;
	enum guest_terminal_kind kind;
};

/** The terminal behind an open file. GUEST_NOT_FOUND: it is no terminal. */
enum guest_result guest_terminal_of_file(const struct guest_kernel *kernel,
					 const struct guest_file *file,
					 struct guest_terminal *terminal);

/** Whether the terminal that was at this address is still there. */
bool guest_terminal_alive(const struct guest_kernel *kernel, uint64_t address, uint32_t index);

#endif
