/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_GUEST_PROFILE_TABLES_H
#define NIJIMI_GUEST_PROFILE_TABLES_H

/**
 * The symbols and members that nijimi reads in a guest's kernel. A row's name is an identifier of
 * ours; where kernels differ, the alternatives stand in one row, newest first, separated by '|':
 * the first that the guest's BTF has is taken. The kernel commit or version that made the
 * difference is named in the remark.
 *
 * need: R = required (without it the kernel cannot be traced), O = optional (its user copes).
 */

/* S(need, identifier, "symbol|older symbol") */
#define PROFILE_SYMBOL_TABLE(S)                                                                   \
	S(R, text, "_text")                                                                       \
	S(R, entry_syscall_64, "entry_SYSCALL_64")                                                \
	S(R, do_syscall_64, "do_syscall_64")                                                      \
	S(R, init_top_pgt, "init_top_pgt")                                                        \
	S(R, page_offset_base, "page_offset_base")                                                \
	S(R, phys_base, "phys_base")                                                              \
	S(R, per_cpu_offset, "__per_cpu_offset")                                                  \
	S(O, nr_cpu_ids, "nr_cpu_ids")                                                            \
	S(O, current_task, "current_task")   /* 5.10, 6.1, and again from 6.15 */                 \
	S(O, pcpu_hot, "pcpu_hot")           /* 6.2 to 6.14 */                                    \
	S(R, init_task, "init_task")                                                              \
	S(O, cpu_dr7, "cpu_dr7")

/* F(need, identifier, "structure.member[.member]|older") */
#define PROFILE_FIELD_TABLE(F)                                                                    \
	F(O, pcpu_hot_current_task, "pcpu_hot.current_task")                                      \
	F(R, pt_regs_ax, "pt_regs.ax")                                                            \
	F(R, pt_regs_orig_ax, "pt_regs.orig_ax")                                                  \
	F(R, task_tasks, "task_struct.tasks")                                                     \
	F(R, task_pid, "task_struct.pid")                                                         \
	F(R, task_tgid, "task_struct.tgid")

#define PROFILE_SYMBOL_ENUM(need, identifier, names) SYMBOL_##identifier,
enum profile_symbol_id { PROFILE_SYMBOL_TABLE(PROFILE_SYMBOL_ENUM) PROFILE_SYMBOLS };
#undef PROFILE_SYMBOL_ENUM

#define PROFILE_FIELD_ENUM(need, identifier, names) FIELD_##identifier,
enum profile_field_id { PROFILE_FIELD_TABLE(PROFILE_FIELD_ENUM) PROFILE_FIELDS };
#undef PROFILE_FIELD_ENUM

#endif
