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
	S(O, vmalloc_base, "vmalloc_base")   /* the direct map ends before it */                  \
	S(R, per_cpu_offset, "__per_cpu_offset")                                                  \
	S(O, nr_cpu_ids, "nr_cpu_ids")                                                            \
	S(O, current_task, "current_task")   /* 5.10, 6.1, and again from 6.15 */                 \
	S(O, pcpu_hot, "pcpu_hot")           /* 6.2 to 6.14 */                                    \
	S(R, init_task, "init_task")                                                              \
	S(R, init_pid_ns, "init_pid_ns")                                                          \
	S(O, dentry_hashtable, "dentry_hashtable")                                                \
	S(O, d_hash_shift, "d_hash_shift")                                                        \
	S(O, vmemmap_base, "vmemmap_base")                                                        \
	S(O, core_pattern, "core_pattern")                                                        \
	S(O, cpu_dr7, "cpu_dr7")                                                                  \
	S(O, ia32_sys_call, "ia32_sys_call") /* from 6.9, 1e3ad78334a6, and in stable kernels */  \
	S(O, do_int80, "do_int80_emulation|do_int80_syscall_32") /* from 6.7, be5341eb0d43 */     \
	S(O, do_fast_syscall_32, "do_fast_syscall_32")                                            \
	S(O, do_fast_syscall_32_inner, "__do_fast_syscall_32")                                    \
	S(O, syscall_enter_from_user_mode, "syscall_enter_from_user_mode") /* to 6.8 */           \
	S(O, syscall_exit_to_user_mode, "syscall_exit_to_user_mode")                              \
	S(O, io_poll_issue, "io_poll_issue")                                                      \
	S(O, security_perf_event_open, "security_perf_event_open")                                \
	S(O, system_state, "system_state")                                                        \
	S(O, etext, "_etext")                                                                     \
	S(O, sys_call_table, "sys_call_table")                                                    \
	S(O, ia32_sys_call_table, "ia32_sys_call_table") /* where there is no ia32_sys_call() */  \
	S(O, x32_sys_call, "x32_sys_call|x32_sys_call_table") /* CONFIG_X86_X32_ABI */            \
	S(O, sys_ni_syscall, "__x64_sys_ni_syscall")                                              \
	S(O, ftrace_replace_code, "ftrace_replace_code")                                          \
	S(O, hibernation_snapshot, "hibernation_snapshot") /* CONFIG_HIBERNATION */               \
	S(O, hibernation_restore, "hibernation_restore") /* likewise */                           \
	S(O, fd_install, "fd_install")                                                            \
	S(O, f_dupfd, "f_dupfd")                                                                  \
	S(O, vfs_readlink, "vfs_readlink")                                                        \
	S(O, wake_up_new_task, "wake_up_new_task")                                                \
	S(O, locks_remove_posix, "locks_remove_posix") /* CONFIG_FILE_LOCKING */                  \
	S(O, machine_kexec, "machine_kexec") /* CONFIG_KEXEC_CORE */                              \
	S(O, boot_cpu_data, "boot_cpu_data")                                                      \
	S(O, klp_transition_patch, "klp_transition_patch") /* CONFIG_LIVEPATCH */                 \
	S(O, text_mutex, "text_mutex") /* kernel/extable.c; with CONFIG_KALLSYMS_ALL */           \
	S(O, tcp_hashinfo, "tcp_hashinfo") /* likewise, net/ipv4/tcp_ipv4.c */                    \
	S(O, modules, "modules") /* likewise, kernel/module/main.c */                             \
	S(O, nf_nat_setup_info, "nf_nat_setup_info") /* where it is no module's */                \
	S(O, net_namespace_list, "net_namespace_list") /* likewise, net/core/net_namespace.c */   \
	S(O, io_issue_sqe, "io_issue_sqe")                                                        \
	S(O, io_issue_sqe_inner, "__io_issue_sqe") /* from 6.15 */

/* F(need, identifier, "structure.member[.member]|older") */
#define PROFILE_FIELD_TABLE(F)                                                                    \
	F(O, pcpu_hot_current_task, "pcpu_hot.current_task")                                      \
	F(R, pt_regs_ax, "pt_regs.ax")                                                            \
	F(R, pt_regs_orig_ax, "pt_regs.orig_ax")                                                  \
	F(R, task_children, "task_struct.children")                                               \
	F(R, task_sibling, "task_struct.sibling")                                                 \
	F(R, task_exit_state, "task_struct.exit_state")                                           \
	F(R, task_tasks, "task_struct.tasks")                                                     \
	F(R, task_pid, "task_struct.pid")                                                         \
	F(R, task_tgid, "task_struct.tgid")                                                       \
	F(R, task_flags, "task_struct.flags")                                                     \
	F(R, task_mm, "task_struct.mm")                                                           \
	F(R, task_group_leader, "task_struct.group_leader")                                       \
	F(R, task_real_parent, "task_struct.real_parent")                                         \
	F(R, task_start_boottime, /* renamed in 5.5 */                                            \
	  "task_struct.start_boottime|task_struct.real_start_time")                               \
	F(O, task_state, "task_struct.__state|task_struct.state") /* renamed in 5.14 */          \
	F(O, task_stack, "task_struct.stack")                                                     \
	F(O, cpuinfo_phys_bits, "cpuinfo_x86.x86_phys_bits")                                      \
	F(O, task_status, "task_struct.thread_info.status") /* TS_COMPAT */                       \
	F(O, task_worker, "task_struct.worker_private|task_struct.pf_io_worker") /* io-wq */     \
	F(O, task_io_uring, "task_struct.io_uring")                                               \
	F(O, io_worker_cur_work, "io_worker.cur_work")                                            \
	F(O, io_kiocb_file, "io_kiocb.file")                                                      \
	F(O, io_kiocb_opcode, "io_kiocb.opcode")                                                  \
	F(O, io_kiocb_flags, "io_kiocb.flags")                                                    \
	F(O, io_kiocb_fd, "io_kiocb.cqe.fd") /* from 5.19 */                                      \
	F(O, io_kiocb_ctx, "io_kiocb.ctx")                                                        \
	F(O, io_kiocb_task, "io_kiocb.task") /* to 6.12 */                                        \
	F(O, io_kiocb_tctx, "io_kiocb.tctx") /* from 6.13, f03baece0805 */                        \
	F(O, io_kiocb_async_data, "io_kiocb.async_data")                                          \
	F(O, io_uring_task_task, "io_uring_task.task") /* from 6.8 */                             \
	F(O, ring_file_nodes, "io_ring_ctx.file_table.data.nodes") /* from 6.13 */                \
	F(O, ring_file_count, "io_ring_ctx.file_table.data.nr") /* likewise */                    \
	F(O, ring_file_table, "io_ring_ctx.file_table.files") /* to 6.12 */                       \
	F(O, ring_user_files, "io_ring_ctx.nr_user_files") /* likewise */                         \
	F(O, io_rsrc_node_file, "io_rsrc_node.file_ptr") /* from 6.13 */                          \
	F(O, ring_mm_account, "io_ring_ctx.mm_account")                                           \
	F(O, ring_compat, "io_ring_ctx.compat")                                                   \
	F(O, io_splice_fd_in, "io_splice.splice_fd_in")                                           \
	F(O, io_splice_flags, "io_splice.flags")                                                  \
	F(O, io_rename_old_dfd, "io_rename.old_dfd")                                              \
	F(O, io_rename_new_dfd, "io_rename.new_dfd")                                              \
	F(O, io_rename_flags, "io_rename.flags")                                                  \
	F(O, io_rename_oldpath, "io_rename.oldpath")                                              \
	F(O, io_rename_newpath, "io_rename.newpath")                                              \
	F(O, io_link_old_dfd, "io_link.old_dfd")                                                  \
	F(O, io_link_new_dfd, "io_link.new_dfd")                                                  \
	F(O, io_link_oldpath, "io_link.oldpath")                                                  \
	F(O, io_link_newpath, "io_link.newpath")                                                  \
	F(O, io_unlink_dfd, "io_unlink.dfd")                                                      \
	F(O, io_unlink_filename, "io_unlink.filename")                                            \
	F(O, filename_name, "filename.name")                                                      \
	F(O, io_sr_msg_umsg, "io_sr_msg.umsg")                                                    \
	F(O, io_sr_msg_addr, "io_sr_msg.addr")                                                    \
	F(O, io_sr_msg_addr_len, "io_sr_msg.addr_len")                                            \
	F(O, io_async_msg_name, "io_async_msghdr.msg.msg_name")                                   \
	F(O, io_async_msg_namelen, "io_async_msghdr.msg.msg_namelen")                             \
	F(R, task_comm, "task_struct.comm")                                                       \
	F(R, task_fs, "task_struct.fs")                                                           \
	F(R, task_files, "task_struct.files")                                                     \
	F(R, task_signal, "task_struct.signal")                                                   \
	F(R, task_thread_node, "task_struct.thread_node")                                         \
	F(R, task_pid_links, "task_struct.pid_links")                                             \
	F(O, task_thread_pid, "task_struct.thread_pid")                                           \
	F(O, task_real_cred, "task_struct.real_cred")                                             \
	F(O, cred_uid, "cred.uid.val")                                                            \
	F(O, task_nsproxy, "task_struct.nsproxy")                                                 \
	F(O, nsproxy_mnt_ns, "nsproxy.mnt_ns")                                                    \
	F(R, signal_live, "signal_struct.live")                                                   \
	F(R, signal_thread_head, "signal_struct.thread_head")                                     \
	F(O, signal_pids, "signal_struct.pids")                                                   \
	F(O, signal_group_exit_code, "signal_struct.group_exit_code")                             \
	F(O, signal_core_state, "signal_struct.core_state") /* from 5.16 */                       \
	F(O, mm_core_state, "mm_struct.core_state") /* to 5.15 */                                 \
	F(R, pid_tasks, "pid.tasks")                                                              \
	F(O, nsproxy_ipc_ns, "nsproxy.ipc_ns") /* CONFIG_IPC_NS */                                \
	F(O, ipc_namespace_inum, "ipc_namespace.ns.inum")                                         \
	F(O, pid_level, "pid.level")                                                              \
	F(O, pid_numbers, "pid.numbers")                                                          \
	F(O, upid_ns, "upid.ns")                                                                  \
	F(O, proc_inode_pid, "proc_inode.pid")                                                    \
	F(O, proc_inode_inode, "proc_inode.vfs_inode")                                            \
	F(O, userfaultfd_mm, "userfaultfd_ctx.mm")                                                \
	F(O, netlink_destination, "netlink_sock.dst_portid")                                      \
	F(O, netlink_group, "netlink_sock.dst_group")                                             \
	F(O, tty_file_tty, "tty_file_private.tty")                                                \
	F(O, tty_references, "tty_struct.kref")                                                   \
	F(O, tty_driver, "tty_struct.driver")                                                     \
	F(O, tty_index, "tty_struct.index")                                                       \
	F(O, tty_link, "tty_struct.link")                                                         \
	F(O, tty_driver_major, "tty_driver.major")                                                \
	F(O, bpf_map_id, "bpf_map.id") /* CONFIG_BPF_SYSCALL */                                   \
	F(O, bpf_map_references, "bpf_map.refcnt") /* likewise */                                 \
	F(O, upid_nr, "upid.nr")                                                                  \
	F(O, pid_namespace_inum, "pid_namespace.ns.inum")                                         \
	F(R, pid_namespace_idr_head, "pid_namespace.idr.idr_rt.xa_head")                          \
	F(R, xa_node_shift, "xa_node.shift")                                                      \
	F(R, xa_node_slots, "xa_node.slots")                                                      \
	F(R, fs_root_mnt, "fs_struct.root.mnt")                                                   \
	F(R, fs_root_dentry, "fs_struct.root.dentry")                                             \
	F(R, fs_pwd_mnt, "fs_struct.pwd.mnt")                                                     \
	F(R, fs_pwd_dentry, "fs_struct.pwd.dentry")                                               \
	F(R, mm_pgd, "mm_struct.pgd")                                                             \
	F(R, mm_exe_file, "mm_struct.exe_file")                                                   \
	F(O, mm_mt_root, "mm_struct.mm_mt.ma_root") /* from 6.1 */                                \
	F(O, mm_mmap, "mm_struct.mmap") /* to 6.0 */                                              \
	F(R, vma_start, "vm_area_struct.vm_start")                                                \
	F(R, vma_end, "vm_area_struct.vm_end")                                                    \
	F(O, vma_next, "vm_area_struct.vm_next") /* to 6.0 */                                     \
	F(R, vma_flags, "vm_area_struct.vm_flags")                                                \
	F(R, vma_file, "vm_area_struct.vm_file")                                                  \
	F(O, vma_mm, "vm_area_struct.vm_mm")                                                      \
	F(O, vma_shared_rb, "vm_area_struct.shared.rb")                                           \
	F(O, mapping_i_mmap, "address_space.i_mmap.rb_root.rb_node")                              \
	F(O, rb_left, "rb_node.rb_left")                                                          \
	F(O, rb_right, "rb_node.rb_right")                                                        \
	F(O, mm_owner, "mm_struct.owner") /* CONFIG_MEMCG */                                      \
	F(O, mm_arg_start, "mm_struct.arg_start")                                                 \
	F(O, mm_env_end, "mm_struct.env_end")                                                     \
	F(O, mm_users, "mm_struct.mm_users.counter")                                              \
	F(O, maple_range_pivot, "maple_range_64.pivot")                                           \
	F(O, maple_range_slot, "maple_range_64.slot")                                             \
	F(O, maple_arange_pivot, "maple_arange_64.pivot")                                         \
	F(O, maple_arange_slot, "maple_arange_64.slot")                                           \
	F(O, maple_node_slot, "maple_node.slot")                                                  \
	F(O, files_count, "files_struct.count.counter")                                           \
	F(R, files_fdt, "files_struct.fdt")                                                       \
	F(R, fdtable_max_fds, "fdtable.max_fds")                                                  \
	F(R, fdtable_fd, "fdtable.fd")                                                            \
	F(R, file_f_inode, "file.f_inode")                                                        \
	F(R, file_f_path_mnt, "file.f_path.mnt")                                                  \
	F(R, file_f_path_dentry, "file.f_path.dentry")                                            \
	F(R, file_f_mode, "file.f_mode")                                                          \
	F(R, file_f_flags, "file.f_flags")                                                        \
	F(R, file_f_pos, "file.f_pos")                                                            \
	F(R, file_private_data, "file.private_data")                                              \
	F(O, file_f_ref, "file.f_ref") /* from 6.13, 90ee6ed776c0 */                              \
	F(O, file_f_count, "file.f_count") /* to 6.12 */                                          \
	F(R, inode_i_mode, "inode.i_mode")                                                        \
	F(R, inode_i_uid, "inode.i_uid")                                                          \
	F(R, inode_i_gid, "inode.i_gid")                                                          \
	F(R, inode_i_sb, "inode.i_sb")                                                            \
	F(R, inode_i_ino, "inode.i_ino")                                                          \
	F(R, inode_i_nlink, "inode.i_nlink")                                                      \
	F(R, inode_i_rdev, "inode.i_rdev")                                                        \
	F(R, inode_i_size, "inode.i_size")                                                        \
	F(R, inode_i_generation, "inode.i_generation")                                            \
	F(R, inode_i_count, "inode.i_count")                                                      \
	F(R, inode_i_dentry, "inode.i_dentry.first")                                              \
	F(R, inode_i_link, "inode.i_link")                                                        \
	F(R, inode_i_mapping, "inode.i_mapping")                                                  \
	F(R, inode_i_private, "inode.i_private")                                                  \
	F(O, mapping_head, "address_space.i_pages.xa_head")                                       \
	F(O, page_mapping, "folio.mapping|page.mapping") /* folios from 5.16 */                   \
	F(R, super_block_s_dev, "super_block.s_dev")                                              \
	F(R, super_block_s_type, "super_block.s_type")                                            \
	F(O, super_block_s_bdev, "super_block.s_bdev")                                            \
	F(O, super_block_s_magic, "super_block.s_magic")                                          \
	F(O, super_block_s_root, "super_block.s_root")                                            \
	F(O, super_block_s_mounts, "super_block.s_mounts") /* a list_head to 6.16 */              \
	F(O, bdev_bd_dev, "block_device.bd_dev")                                                  \
	F(O, bdev_bd_disk, "block_device.bd_disk")                                                \
	F(O, bdev_bd_holder, "block_device.bd_holder")                                            \
	F(O, bdev_inode_bdev, "bdev_inode.bdev")                                                  \
	F(O, bdev_inode_inode, "bdev_inode.vfs_inode")                                            \
	F(O, gendisk_major, "gendisk.major")                                                      \
	F(O, gendisk_first_minor, "gendisk.first_minor")                                          \
	F(O, gendisk_disk_name, "gendisk.disk_name")                                              \
	F(O, gendisk_private_data, "gendisk.private_data")                                        \
	F(O, gendisk_flags, "gendisk.flags")                                                      \
	F(O, gendisk_part0, "gendisk.part0") /* in it to 5.10, then a pointer */                  \
	F(O, hd_struct_dev, "hd_struct.__dev")                                                    \
	F(O, bdev_bd_device, "block_device.bd_device")                                            \
	F(O, device_parent, "device.parent")                                                      \
	F(O, device_bus, "device.bus")                                                            \
	F(O, bus_type_name, "bus_type.name")                                                      \
	F(O, file_f_mapping, "file.f_mapping")                                                    \
	F(O, mapping_host, "address_space.host")                                                  \
	F(O, file_system_type_flags, "file_system_type.fs_flags")                                 \
	F(O, super_block_s_uuid, "super_block.s_uuid")                                            \
	F(R, file_system_type_name, "file_system_type.name")                                      \
	F(R, dentry_d_flags, "dentry.d_flags")                                                    \
	F(R, dentry_d_hash_next, "dentry.d_hash.next")                                            \
	F(R, dentry_d_hash_pprev, "dentry.d_hash.pprev")                                          \
	F(R, dentry_d_parent, "dentry.d_parent")                                                  \
	F(R, dentry_name_hash, "dentry.d_name.hash")                                              \
	F(R, dentry_name_length, "dentry.d_name.len")                                             \
	F(R, dentry_name, "dentry.d_name.name")                                                   \
	F(R, dentry_short_name, "dentry.d_shortname|dentry.d_iname") /* renamed in 6.14 */        \
	F(R, dentry_d_inode, "dentry.d_inode")                                                    \
	F(R, dentry_d_op, "dentry.d_op")                                                          \
	F(R, dentry_d_sb, "dentry.d_sb")                                                          \
	F(R, dentry_d_alias, "dentry.d_alias|dentry.d_u.d_alias") /* d_u lost its name in 7.x */  \
	F(O, dentry_d_children, "dentry.d_children.first") /* from 6.8, da549bdd15c2 */           \
	F(O, dentry_d_sib, "dentry.d_sib.next") /* likewise */                                    \
	F(O, dentry_d_subdirs, "dentry.d_subdirs.next") /* to 6.7 */                              \
	F(O, dentry_d_child, "dentry.d_child.next") /* likewise */                                \
	F(R, dentry_operations_d_dname, "dentry_operations.d_dname")                              \
	F(R, mount_mnt, "mount.mnt")                                                              \
	F(R, mount_root, "mount.mnt.mnt_root")                                                    \
	F(R, mount_parent, "mount.mnt_parent")                                                    \
	F(R, mount_mountpoint, "mount.mnt_mountpoint")                                            \
	F(R, mount_mounts, "mount.mnt_mounts.next")                                               \
	F(R, mount_child, "mount.mnt_child.next")                                                 \
	F(O, mount_next_for_sb, "mount.mnt_next_for_sb") /* from 6.17 */                          \
	F(O, mount_instance, "mount.mnt_instance") /* before */                                   \
	F(O, mount_mnt_ns, "mount.mnt_ns")                                                        \
	F(O, ns_common_ops, "ns_common.ops")                                                      \
	F(O, proc_ns_operations_name, "proc_ns_operations.name")                                  \
	F(R, socket_alloc_socket, "socket_alloc.socket")                                          \
	F(R, socket_alloc_inode, "socket_alloc.vfs_inode")                                        \
	F(O, socket_state, "socket.state")                                                        \
	F(R, socket_sk, "socket.sk")                                                              \
	F(R, sock_family, "sock.__sk_common.skc_family")                                          \
	F(R, sock_state, "sock.__sk_common.skc_state")                                            \
	F(O, sock_net, "sock.__sk_common.skc_net.net") /* CONFIG_NET_NS */                        \
	F(R, sock_type, "sock.sk_type") /* bit field before 5.6 */                                \
	F(R, sock_protocol, "sock.sk_protocol") /* likewise */                                    \
	F(R, sock_socket, "sock.sk_socket")                                                       \
	F(R, sock_daddr, "sock.__sk_common.skc_daddr")                                            \
	F(R, sock_rcv_saddr, "sock.__sk_common.skc_rcv_saddr")                                    \
	F(R, sock_dport, "sock.__sk_common.skc_dport")                                            \
	F(R, sock_num, "sock.__sk_common.skc_num")                                                \
	F(O, sock_v6_daddr, "sock.__sk_common.skc_v6_daddr") /* CONFIG_IPV6 */                    \
	F(O, sock_v6_rcv_saddr, "sock.__sk_common.skc_v6_rcv_saddr") /* likewise */               \
	F(O, inet_sport, "inet_sock.inet_sport") /* beside skc_num, in network byte order */       \
	F(O, udp_pending, "udp_sock.pending")                                                     \
	F(O, cork_daddr, "inet_sock.cork.fl.u.ip4.daddr")                                         \
	F(O, cork_dport, "inet_sock.cork.fl.u.ip4.uli.ports.dport")                               \
	F(O, cork_v6_daddr, "inet_sock.cork.fl.u.ip6.daddr")                                      \
	F(O, cork_v6_dport, "inet_sock.cork.fl.u.ip6.uli.ports.dport")                            \
	F(O, module_list, "module.list.next")                                                     \
	F(O, module_name, "module.name")                                                          \
	F(O, sock_nulls_node, "sock.__sk_common.skc_nulls_node")                                  \
	F(O, net_list, "net.list.next")                                                           \
	F(O, net_tcp_hashinfo, "net.ipv4.tcp_death_row.hashinfo") /* not in 5.19 and 6.0 */       \
	F(O, inet_hashinfo_ehash, "inet_hashinfo.ehash")                                          \
	F(O, inet_hashinfo_ehash_mask, "inet_hashinfo.ehash_mask")                                \
	F(O, ehash_bucket_chain, "inet_ehash_bucket.chain.first")                                 \
	F(O, listener_accept_head, "inet_connection_sock.icsk_accept_queue.rskq_accept_head")     \
	F(O, request_sock_next, "request_sock.dl_next")                                           \
	F(O, request_sock_sk, "request_sock.sk")                                                  \
	F(O, unix_addr, "unix_sock.addr") /* absent if af_unix is a module */                     \
	F(O, unix_dentry, "unix_sock.path.dentry") /* likewise */                                 \
	F(O, unix_peer, "unix_sock.peer") /* likewise */                                          \
	F(O, unix_address_len, "unix_address.len") /* likewise */                                 \
	F(O, unix_address_name, "unix_address.name") /* likewise */

#define PROFILE_SYMBOL_ENUM(need, identifier, names) SYMBOL_##identifier,
enum profile_symbol_id { PROFILE_SYMBOL_TABLE(PROFILE_SYMBOL_ENUM) PROFILE_SYMBOLS };
#undef PROFILE_SYMBOL_ENUM

#define PROFILE_FIELD_ENUM(need, identifier, names) FIELD_##identifier,
enum profile_field_id { PROFILE_FIELD_TABLE(PROFILE_FIELD_ENUM) PROFILE_FIELDS };
#undef PROFILE_FIELD_ENUM

#endif
