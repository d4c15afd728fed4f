/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_BASE_CLEANUP_H
#define NIJIMI_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Scope guards: the resource is released when the variable leaves its scope. */

static inline void cleanup_free_function(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_close_function(int *descriptor)
{
	if (*descriptor >= 0)
		close(*descriptor);
}

static inline void cleanup_fclose_function(FILE **stream)
{
	if (*stream)
		fclose(*stream);
}

#define cleanup_free   __attribute__((cleanup(cleanup_free_function)))
#define cleanup_close  __attribute__((cleanup(cleanup_close_function)))
#define cleanup_fclose __attribute__((cleanup(cleanup_fclose_function)))

/** Hands a pointer on to the caller, so that its guard does not free it. */
#define take_pointer(pointer)                                                                     \
	({                                                                                        \
		__typeof__(pointer) taken_ = (pointer);                                           \
		(pointer) = NULL;                                                                 \
		taken_;                                                                           \
	})

#endif
