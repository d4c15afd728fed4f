/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "failing.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RUNS_MAXIMUM = 50000, SOME = 64 };

static struct {
	uint64_t nth;  // fails; 0: none
	uint64_t seen; // in this run
	bool on;       // all after it fail, too
	bool failed;
} plan;

static _Thread_local bool armed;
bool failing_library_leaks;

static bool fails(void)
{
	if (!armed)
		return false;
	plan.seen++;
	if (plan.nth == 0 || plan.seen < plan.nth || (plan.seen > plan.nth && !plan.on))
		return false;
	plan.failed = true;
	errno = ENOMEM;
	return true;
}

void failing_begin(void)
{
	armed = true;
}

void failing_end(void)
{
	armed = false;
}

bool failing_has_failed(void)
{
	return plan.failed;
}

#ifdef FAILING_EVERYWHERE

// In the place of the C library's own, which has these names for them.
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *pointer);

#define EXPORTED __attribute__((visibility("default")))

static _Atomic int64_t outstanding;

static void *counted(void *pointer)
{
	outstanding += pointer != NULL;
	return pointer;
}

EXPORTED void *malloc(size_t size)
{
	return fails() ? NULL : counted(__libc_malloc(size));
}

EXPORTED void *calloc(size_t count, size_t size)
{
	return fails() ? NULL : counted(__libc_calloc(count, size));
}

EXPORTED void *realloc(void *old, size_t size)
{
	if (fails())
		return NULL;
	void *new = __libc_realloc(old, size);
	outstanding += (new != NULL) - (old != NULL && (new || size == 0));
	return new;
}

EXPORTED void *memalign(size_t alignment, size_t size);
EXPORTED void *memalign(size_t alignment, size_t size)
{
	return fails() ? NULL : counted(__libc_memalign(alignment, size));
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

EXPORTED int posix_memalign(void **pointer, size_t alignment, size_t size)
{
	*pointer = memalign(alignment, size);
	return *pointer ? 0 : ENOMEM;
}

EXPORTED void free(void *pointer)
{
	outstanding -= pointer != NULL;
	__libc_free(pointer);
}

static int64_t count_outstanding(void)
{
	return atomic_load(&outstanding);
}

#else

// ld's --wrap: what our own code calls comes here.
#define WRAPPED(type, none, name, parameters, arguments)                                           \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters                                                              \
	{                                                                                          \
		return fails() ? none : __real_##name arguments;                                   \
	}

WRAPPED(void *, NULL, malloc, (size_t size), (size))
WRAPPED(void *, NULL, calloc, (size_t count, size_t size), (count, size))
WRAPPED(void *, NULL, realloc, (void *old, size_t size), (old, size))
WRAPPED(char *, NULL, strdup, (const char *text), (text))
WRAPPED(char *, NULL, strndup, (const char *text, size_t size), (text, size))
WRAPPED(int, -1, vasprintf, (char **text, const char *format, va_list list), (text, format, list))
WRAPPED(FILE *, NULL, fopencookie,
	(void *cookie, const char *mode, cookie_io_functions_t functions),
	(cookie, mode, functions))

static int64_t count_outstanding(void)
{
	return 0;
}

#endif

static void run(void (*scenario)(void *context), void *context, uint64_t nth, bool on)
{
	int64_t before = count_outstanding();
	plan.nth = nth;
	plan.on = on;
	plan.seen = 0;
	plan.failed = false;
	scenario(context);
	assert_false(armed);
	if (nth > 0 && !failing_library_leaks && count_outstanding() != before)
		fail_msg("%lld allocations stay behind when the %llu. fails%s",
			 (long long)(count_outstanding() - before), (unsigned long long)nth,
			 on ? ", and all after it" : "");
}

uint64_t failing_each(void (*scenario)(void *context), void *context)
{
	const bool all = getenv("NIJIMI_FAULTS") && strcmp(getenv("NIJIMI_FAULTS"), "all") == 0;
	uint64_t count = 0;
	run(scenario, context, 0, false); // what is allocated once and for all is there then
	assert_false(plan.failed);
	for (int on = 0; on < 2; on++)
		for (uint64_t nth = 1; nth == 1 || plan.failed; nth += 1 + (all ? 0 : nth / SOME)) {
			assert_true(nth < RUNS_MAXIMUM);
			run(scenario, context, nth, on);
			count = plan.failed && nth > count ? nth : count;
		}
	return count;
}
