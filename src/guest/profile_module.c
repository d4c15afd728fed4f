/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/profile_module.h"

#include "guest/btf.h"
#include "guest/decode.h"

__attribute__((visibility("default"))) bool
nijimi_profile_analyse(const struct profile_sources *sources, struct profile_findings *findings,
		       struct error *error)
{
	if (sources->tables_digest != profile_tables_digest())
		return error_set(error, ERROR_UNSUPPORTED,
				 PROFILE_MODULE_FILE " is of another build of nijimi");
	*findings = (struct profile_findings){0};
	return btf_find_fields(sources->btf, sources->btf_length, findings->fields, error) &&
	       decode_syscall_entry(sources->entry, sources->entry_length, sources->entry_address,
				    sources->do_syscall_64, &findings->syscall_entry,
				    &findings->syscall_exit, error);
}
