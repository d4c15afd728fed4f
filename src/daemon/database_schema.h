/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_DATABASE_SCHEMA_H
#define NIJIMI_DAEMON_DATABASE_SCHEMA_H

/**
 * How a database comes from one version of the schema (PRAGMA user_version) to the next: element N
 * makes version N + 1 of version N; 0 is an empty file. A step that was released never changes:
 * what is to be different is another step.
 *
 * All integers are 64 bits, labels and unsigned numbers in two's complement. Texts from guests are
 * their bytes. Times are CLOCK_REALTIME ns.
 */
static const char *const database_migrations[] = {
	// What runs, and ran: one row a VMM process, one row a VM (over its lives, by its UUID).
	"CREATE TABLE agents(row INTEGER PRIMARY KEY, instance BLOB NOT NULL, pid INTEGER NOT NULL,"
	" process_start INTEGER NOT NULL, host_boot TEXT NOT NULL, uid INTEGER NOT NULL,"
	" program TEXT NOT NULL, name TEXT NOT NULL, run TEXT NOT NULL,"
	" process_ended INTEGER NOT NULL, restarting INTEGER NOT NULL, left_out INTEGER NOT NULL,"
	" journal INTEGER NOT NULL, ignored INTEGER NOT NULL, connected_time INTEGER NOT NULL,"
	" disconnected_time INTEGER NOT NULL, heard_time INTEGER NOT NULL,"
	" synced_time INTEGER NOT NULL, label_bits BLOB NOT NULL);"
	// What the bits of all labels are called; agents.label_bits: ours, a byte for each of the
	// agent's.
	"CREATE TABLE labels(bit INTEGER PRIMARY KEY, name TEXT NOT NULL);"
	"CREATE TABLE vms(row INTEGER PRIMARY KEY, agent INTEGER NOT NULL, name TEXT NOT NULL,"
	" number INTEGER NOT NULL, gone INTEGER NOT NULL, described INTEGER NOT NULL,"
	" unwatched INTEGER NOT NULL, state INTEGER NOT NULL, boot INTEGER NOT NULL,"
	" vcpus INTEGER NOT NULL, uuid BLOB, uuid_ns INTEGER NOT NULL,"
	" profile_ns INTEGER NOT NULL, profile_cached INTEGER NOT NULL, kernel TEXT NOT NULL,"
	" hook TEXT NOT NULL, reason TEXT NOT NULL, first_time INTEGER NOT NULL,"
	" state_time INTEGER NOT NULL, event INTEGER NOT NULL, generation INTEGER NOT NULL,"
	" ever_files INTEGER NOT NULL, ever_processes INTEGER NOT NULL,"
	" ever_sockets INTEGER NOT NULL, ever_endpoints INTEGER NOT NULL,"
	" edges_dropped INTEGER NOT NULL, ended_dropped INTEGER NOT NULL,"
	" descriptions INTEGER NOT NULL);"
	"CREATE INDEX vms_uuid ON vms(uuid);"
	// What an object was like at some moment; objects and edges refer to it.
	"CREATE TABLE descriptions(vm INTEGER NOT NULL, id INTEGER NOT NULL, object INTEGER NOT "
	"NULL,"
	" kind INTEGER NOT NULL, group_number INTEGER NOT NULL, time INTEGER NOT NULL,"
	" inode INTEGER NOT NULL, start_time INTEGER NOT NULL, device INTEGER NOT NULL,"
	" generation INTEGER NOT NULL, mode INTEGER NOT NULL, pid INTEGER NOT NULL,"
	" uid INTEGER NOT NULL, family INTEGER NOT NULL, socket_type INTEGER NOT NULL,"
	" inner_pid INTEGER NOT NULL, pid_namespace INTEGER NOT NULL, path TEXT NOT NULL,"
	" name TEXT NOT NULL, address TEXT NOT NULL, peer TEXT NOT NULL, host_path TEXT NOT NULL,"
	" filesystem BLOB, filesystem_inode INTEGER NOT NULL,"
	" filesystem_generation INTEGER NOT NULL, PRIMARY KEY(vm, id)) WITHOUT ROWID;"
	"CREATE TABLE objects(vm INTEGER NOT NULL, id INTEGER NOT NULL, labels INTEGER NOT NULL,"
	" ended INTEGER NOT NULL, ended_time INTEGER NOT NULL, description INTEGER NOT NULL,"
	" PRIMARY KEY(vm, id)) WITHOUT ROWID;"
	// The numbers that the agent of a VM that runs calls its objects by.
	"CREATE TABLE numbers(vm INTEGER NOT NULL, number INTEGER NOT NULL,"
	" object INTEGER NOT NULL, generation INTEGER NOT NULL, PRIMARY KEY(vm, number))"
	" WITHOUT ROWID;"
	"CREATE INDEX numbers_object ON numbers(vm, object);"
	// source: NULL where a file was marked as classified; 0: an object that was never
	// described.
	"CREATE TABLE edges(vm INTEGER NOT NULL, event INTEGER NOT NULL, sequence INTEGER NOT NULL,"
	" time INTEGER NOT NULL, labels INTEGER NOT NULL, source INTEGER,"
	" destination INTEGER NOT NULL, cause TEXT NOT NULL, PRIMARY KEY(vm, event))"
	" WITHOUT ROWID;"
	"CREATE TABLE gaps(vm INTEGER NOT NULL, position INTEGER NOT NULL, kind TEXT NOT NULL,"
	" detail TEXT NOT NULL, count INTEGER NOT NULL, first_time INTEGER NOT NULL,"
	" last_time INTEGER NOT NULL, PRIMARY KEY(vm, position)) WITHOUT ROWID;"
	"CREATE TABLE kernels(vm INTEGER NOT NULL, position INTEGER NOT NULL, release TEXT NOT "
	"NULL,"
	" begin_time INTEGER NOT NULL, end_time INTEGER NOT NULL, PRIMARY KEY(vm, position))"
	" WITHOUT ROWID;",
	// Alerts, and counts of what was held back (listed 0), in the order of delivery.
	"CREATE TABLE alerts(id INTEGER PRIMARY KEY, listed INTEGER NOT NULL,"
	" held_back INTEGER NOT NULL, json TEXT NOT NULL, text TEXT NOT NULL, vm TEXT NOT NULL,"
	" label TEXT NOT NULL, sink TEXT NOT NULL);"
	// Apart, because they change, and alerts are long.
	"CREATE TABLE alert_repeats(alert INTEGER PRIMARY KEY, count INTEGER NOT NULL,"
	" last_time INTEGER NOT NULL);"
	"CREATE TABLE alerts_seen(place INTEGER PRIMARY KEY, hash INTEGER NOT NULL,"
	" time INTEGER NOT NULL, alert INTEGER NOT NULL);"
	// All alerts up to the id `confirmed` have arrived there, or are older than it.
	"CREATE TABLE alert_destinations(identity BLOB PRIMARY KEY, confirmed INTEGER NOT NULL,"
	" delivered INTEGER NOT NULL, lost INTEGER NOT NULL) WITHOUT ROWID;"
	// One row. exact: no id above `last` has been given.
	"CREATE TABLE alert_numbers(one INTEGER PRIMARY KEY CHECK(one = 1), last INTEGER NOT NULL,"
	" exact INTEGER NOT NULL, dropped INTEGER NOT NULL, hash_key INTEGER NOT NULL,"
	" raised INTEGER NOT NULL, held_back INTEGER NOT NULL, window_end INTEGER NOT NULL,"
	" window_count INTEGER NOT NULL, window_held INTEGER NOT NULL);",
	// An endpoint that was not reached, because the call was refused.
	"ALTER TABLE descriptions ADD COLUMN denied INTEGER NOT NULL DEFAULT 0;"
	// A file, or disk, on a disk that can be taken away.
	"ALTER TABLE descriptions ADD COLUMN removable INTEGER NOT NULL DEFAULT 0;",
	// Files that were marked by hand, and who has marked and cleared what.
	"CREATE TABLE marks(vm INTEGER NOT NULL, position INTEGER NOT NULL, path TEXT NOT NULL,"
	" label TEXT NOT NULL, PRIMARY KEY(vm, position)) WITHOUT ROWID;"
	"CREATE TABLE audit(id INTEGER PRIMARY KEY, time INTEGER NOT NULL, uid INTEGER NOT NULL,"
	" pid INTEGER NOT NULL, vm TEXT NOT NULL, uuid TEXT NOT NULL, action TEXT NOT NULL,"
	" target TEXT NOT NULL, label TEXT NOT NULL, result TEXT NOT NULL,"
	" objects INTEGER NOT NULL);",
	// When a VM was, or may have been, untraced. end_time 0: it still is.
	"CREATE TABLE periods(vm INTEGER NOT NULL, position INTEGER NOT NULL,"
	" begin_time INTEGER NOT NULL, end_time INTEGER NOT NULL, reason TEXT NOT NULL,"
	" PRIMARY KEY(vm, position)) WITHOUT ROWID;"
	// Rows of VMs that are listed no more (or not yet): what else has them is deleted in pieces.
	"CREATE TABLE forgotten(row INTEGER PRIMARY KEY);",
	// That have gone by an edge. 0: not known.
	"ALTER TABLE edges ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;",
};

#endif
