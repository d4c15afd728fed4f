/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_E2E_RING_H
#define NIJIMI_E2E_RING_H

/** The process's ring of io_uring (uring.c), and the result of one request on it. */
void ring_make(unsigned flags);
int ring_request(int opcode, int fd, const void *address, unsigned length, unsigned flags);

#endif
