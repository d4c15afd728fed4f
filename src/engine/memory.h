/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_ENGINE_MEMORY_H
#define NIJIMI_ENGINE_MEMORY_H

#include <stddef.h>

/** Where the engine's memory comes from: the C library, or a test that lets it run out. */
struct engine_memory {
	void *(*allocate)(void *context, size_t size); // NULL if there is none; content undefined
	void (*release)(void *context, void *memory, size_t size);
	void *context;
};

#endif
