/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_BTF_H
#define NIJIMI_GUEST_BTF_H

#include "guest/profile.h"

/** A member that is wanted: "structure.member[.member]", alternatives behind '|'. */
struct btf_wanted {
	const char *names;
	bool required;
};

/**
 * Finds members in a kernel's BTF (Documentation/bpf/btf.rst), each by its dotted path; anonymous
 * structures and unions on the way are looked through, and `member[2]` is an element of an array.
 * Fails with ERROR_UNSUPPORTED when the BTF is malformed or lacks what is required (all that is
 * missing is named), with ERROR_MEMORY, or with ERROR_LIMIT.
 */
bool btf_find(const void *data, size_t length, const struct btf_wanted *wanted, size_t count,
	      struct profile_field *fields, struct error *error);

/** The members that profile_tables.h wants. */
bool btf_find_fields(const void *data, size_t length, struct profile_field fields[PROFILE_FIELDS],
		     struct error *error);

#endif
