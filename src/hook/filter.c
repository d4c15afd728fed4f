/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hook/filter.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
	STUB_SPACE = HOOK_FILTER_STUB_SPACE,
	CELLS_AT = STUB_SPACE * HOOK_FILTER_STUBS_MAXIMUM, // bytes from the memory's beginning
	NO_CODE = 0xcc, // int3
	OPERAND_LENGTH = 4,
	JUMP = 0xe9, // jmp rel32
};

// Bits of a page-table entry (Intel SDM vol. 3A, table 4-17). Accessed already, so that no CPU writes it. But not
// dirty: a page that is dirty and cannot be written is a shadow stack.
static const uint64_t entry_present = 1 << 0, entry_accessed = 1 << 5, entry_large = 1 << 7, entry_global = 1 << 8;
static const uint64_t largest_gpa = (1ull << 52) - HOOK_FILTER_SIZE;

/* The table of what is allowed. A task and an inode can stand in one place only. */

struct cell {
	_Alignas(64) _Atomic uint64_t task; // 0: empty, or being replaced
	_Atomic uint64_t sequence; // counts what stood here
	_Atomic uint64_t start_time, inode, inode_number;
	_Atomic uint32_t generation, kinds;
	_Atomic uint64_t parent, name;
};
static_assert(sizeof(struct cell) == 64, "the hash is of the cells' bytes");
static_assert(CELLS_AT % 4096 == 0 && CELLS_AT + HOOK_FILTER_ENTRIES * sizeof(struct cell) <= HOOK_FILTER_SIZE,
	      "code and table have pages of their own, and fit");

// The hash, in few instructions: objects that lie at equal distances, as those of a kernel's allocator do, must not
// meet in a few places. A product alone would let them, for some distances.
enum {
	TASK_FACTOR = 0x61c88647,
	INODE_FACTOR = 0x5851f42d,
	MIXING_FACTOR = 0x61c88647,
	FOLD_SHIFT = 32,
	HASH_SHIFT = 12,
	HASH_MASK = (HOOK_FILTER_ENTRIES - 1) * 64, // the bits from 18 on
};
static_assert(HOOK_FILTER_ENTRIES == 1 << (32 - HASH_SHIFT - 6), "the hash has as many bits");

/* The stub */

enum operand {
	NOTHING,
	CURRENT_TASK, // what the layout has
	START_TIME,
	FILES,
	COUNT,
	FDT,
	MAX_FDS,
	FD,
	MOUNT,
	DENTRY,
	PARENT,
	NAME,
	INODE,
	MODE,
	NUMBER,
	GENERATION,
	SUPERBLOCK,
	MAGIC,
	PRIVATE_DATA,
	STATE,
	REFERENCES,
	FIRST, // arguments
	SECOND,
	FOURTH,
	FIFTH,
	BY_TASK, // constants
	BY_INODE,
	MIXING,
	MASK,
	DESCRIPTOR, // the site's: one of the arguments
	KIND_BIT,
	READING_BIT,
	COMMAND,
	MAGIC_ALWAYS,
	MAGIC_IF_ALONE,
	MAGIC_IF_UNCONNECTED,
	ONE_REFERENCE,
	CELLS, // addresses, relative to the next instruction; what comes before CELLS is a number
	NEXT, // behind the instructions of this part
	EXIT,
	OPENED, // where it is decided who else may use it
	PASS, // behind the site, or first what brings there
	BEHIND,
	OPERANDS
};

struct instruction {
	uint8_t length; // without the operand, which has four bytes
	unsigned char bytes[7];
	uint8_t operand;
};

#define CELL(member) ((unsigned char)offsetof(struct cell, member))

#define FINDING_THE_TABLE                                                                                              \
	{ 5, { 0x65, 0x48, 0x8b, 0x04, 0x25 }, CURRENT_TASK }, /* mov %gs:current_task, %rax */                        \
	{ 3, { 0x48, 0x8b, 0x88 }, FILES }, /* mov files(%rax), %rcx */                                                \
	{ 3, { 0x48, 0x85, 0xc9 }, NOTHING }, /* test %rcx, %rcx */                                                    \
	{ 2, { 0x0f, 0x84 }, EXIT }, /* je: it is exiting */                                                           \
	{ 2, { 0x8b, 0x91 }, COUNT }, /* mov count(%rcx), %edx */                                                      \
	{ 3, { 0x83, 0xfa, 1 }, NOTHING } /* cmp $1, %edx */

static const struct instruction exiting_unless_there_is_a_table[] = {
	FINDING_THE_TABLE,
	{ 2, { 0x0f, 0x82 }, EXIT }, // jb
};

static const struct instruction exiting_unless_alone[] = {
	FINDING_THE_TABLE,
	{ 2, { 0x0f, 0x85 }, EXIT }, // jne: others may change the table
};

// Others may close a descriptor meanwhile. Files, their tables and inodes are freed when all CPUs have taken interrupts (RCU) or gone on
// to another task: so this one does neither while they are looked at. r10d: whether it was told to.
static const struct instruction keeping_the_table[] = {
	{ 3, { 0x45, 0x31, 0xd2 }, NOTHING }, // xor %r10d, %r10d
	FINDING_THE_TABLE,
	{ 2, { 0x0f, 0x82 }, EXIT }, // jb
	{ 2, { 0x0f, 0x84 }, NEXT }, // je: nobody else uses it
	{ 1, { 0xfa }, NOTHING }, // cli
	{ 3, { 0x41, 0xff, 0xc2 }, NOTHING }, // inc %r10d
};

#define LETTING_THE_TABLE_GO(where)                                                                                    \
	{ 3, { 0x45, 0x85, 0xd2 }, NOTHING }, /* test %r10d, %r10d */                                                  \
	{ 2, { 0x0f, 0x84 }, where }, /* je */                                                                         \
	{ 1, { 0xfb }, NOTHING } /* sti */

static const struct instruction letting_the_table_go_and_passing[] = {
	LETTING_THE_TABLE_GO(BEHIND),
	{ 1, { JUMP }, BEHIND }, // jmp
};

static const struct instruction letting_the_table_go[] = { LETTING_THE_TABLE_GO(NEXT) };

// A file (rdi) that stands in its table (rsi) no more.
static const struct instruction exiting_if_others_use_it[] = {
	{ 3, { 0x48, 0x85, 0xf6 }, NOTHING }, // test %rsi, %rsi
	{ 2, { 0x0f, 0x84 }, BEHIND }, // je: it is of none
	{ 2, { 0x8b, 0x86 }, COUNT }, // mov count(%rsi), %eax
	{ 3, { 0x83, 0xf8, 1 }, NOTHING }, // cmp $1, %eax
	{ 2, { 0x0f, 0x86 }, BEHIND }, // jbe: no other thread has the table
	{ 3, { 0x48, 0x8b, 0x87 }, REFERENCES }, // mov f_count(%rdi), %rax
	{ 2, { 0x48, 0x3d }, ONE_REFERENCE }, // cmp $ONE_REFERENCE, %rax
	{ 2, { 0x0f, 0x84 }, BEHIND }, // je: there is only the one that is given up
};

// A look into the table: rax is the task, and stays; r11 becomes the place, by what it is already.
#define FINDING_THE_PLACE                                                                                              \
	{ 3, { 0x4d, 0x89, 0xd8 }, NOTHING }, /* mov %r11, %r8 */                                                      \
	{ 4, { 0x49, 0xc1, 0xe8, FOLD_SHIFT }, NOTHING }, /* shr $FOLD_SHIFT, %r8 */                                   \
	{ 3, { 0x4d, 0x31, 0xc3 }, NOTHING }, /* xor %r8, %r11 */                                                      \
	{ 3, { 0x45, 0x69, 0xdb }, MIXING }, /* imul $MIXING, %r11d, %r11d */                                          \
	{ 4, { 0x41, 0xc1, 0xeb, HASH_SHIFT }, NOTHING }, /* shr $HASH_SHIFT, %r11d */                                 \
	{ 3, { 0x41, 0x81, 0xe3 }, MASK }, /* and $MASK, %r11d */                                                      \
	{ 3, { 0x4c, 0x8d, 0x0d }, CELLS }, /* lea CELLS(%rip), %r9 */                                                 \
	{ 3, { 0x4d, 0x01, 0xcb }, NOTHING }, /* add %r9, %r11 */                                                      \
	{ 4, { 0x4d, 0x8b, 0x43, CELL(sequence) }, NOTHING } /* mov sequence(%r11), %r8 */

#define UNLESS_EQUAL(to) { 2, { 0x0f, 0x85 }, to } /* jne */

#define COMPARING_TASK(otherwise)                                                                                      \
	{ 4, { 0x49, 0x39, 0x43, CELL(task) }, NOTHING }, /* cmp %rax, task(%r11) */                                   \
	UNLESS_EQUAL(otherwise)

#define COMPARING_START_TIME(otherwise)                                                                                \
	{ 3, { 0x4c, 0x8b, 0x88 }, START_TIME }, /* mov start_time(%rax), %r9 */                                       \
	{ 4, { 0x4d, 0x39, 0x4b, CELL(start_time) }, NOTHING }, /* cmp %r9, start_time(%r11) */                        \
	UNLESS_EQUAL(otherwise)

#define COMPARING_ANY(member, otherwise)                                                                               \
	{ 5, { 0x49, 0x83, 0x7b, CELL(member), HOOK_FILTER_ANY }, NOTHING }, /* cmpq $HOOK_FILTER_ANY, member(%r11) */ \
	UNLESS_EQUAL(otherwise)

// rdx: the inode, or the dentry that stands in its place
#define COMPARING_INODE(otherwise)                                                                                     \
	{ 4, { 0x49, 0x39, 0x53, CELL(inode) }, NOTHING }, /* cmp %rdx, inode(%r11) */                                 \
	UNLESS_EQUAL(otherwise)

// Of the inode in rdx, or in r10.
#define COMPARING_NUMBERS(prefix_of_64, prefix_of_32, otherwise)                                                       \
	{ 3, { prefix_of_64, 0x8b, 0x8a }, NUMBER }, /* mov i_ino(%rdx or %r10), %r9 */                                \
	{ 4, { 0x4d, 0x39, 0x4b, CELL(inode_number) }, NOTHING }, /* cmp %r9, inode_number(%r11) */                    \
	UNLESS_EQUAL(otherwise),                                                                                       \
	{ 3, { prefix_of_32, 0x8b, 0x8a }, GENERATION }, /* mov i_generation(%rdx or %r10), %r9d */                    \
	{ 4, { 0x45, 0x39, 0x4b, CELL(generation) }, NOTHING }, /* cmp %r9d, generation(%r11) */                       \
	UNLESS_EQUAL(otherwise)
#define OF_RDX 0x4c, 0x44
#define OF_R10 0x4d, 0x45
#define COMPARING_NUMBERS_OF(inode, otherwise) COMPARING_NUMBERS(inode, otherwise)

#define ENDING_THE_LOOK(otherwise) ENDING_THE_LOOK_FOR(KIND_BIT, otherwise)
#define ENDING_THE_LOOK_FOR(kind, otherwise)                                                                           \
	{ 4, { 0x41, 0xf7, 0x43, CELL(kinds) }, kind }, /* testl $kind, kinds(%r11) */                                 \
	{ 2, { 0x0f, 0x84 }, otherwise }, /* je */                                                                     \
	{ 4, { 0x4d, 0x39, 0x43, CELL(sequence) }, NOTHING }, /* cmp %r8, sequence(%r11) */                            \
	UNLESS_EQUAL(otherwise) /* another stands here now */

// The full barrier of filter.h, below the stack's end: the word is not changed, and nothing waits for it, as the function's
// return would for the word above.
#define MAKING_BARRIER { 6, { 0xf0, 0x83, 0x4c, 0x24, 0xfc, 0x00 }, NOTHING } // lock orl $0, -4(%rsp)

static const struct instruction making_barrier[] = { MAKING_BARRIER };

static const struct instruction deciding[] = { // behind exiting_unless_alone, or keeping_the_table
	MAKING_BARRIER, // before the table is looked at, too, which others may be changing
	{ 3, { 0x48, 0x8b, 0x89 }, FDT }, // mov fdt(%rcx), %rcx
	{ 2, { 0x8b, 0x97 }, DESCRIPTOR }, // mov descriptor(%rdi), %edx
	{ 2, { 0x8b, 0xb1 }, MAX_FDS }, // mov max_fds(%rcx), %esi
	{ 2, { 0x39, 0xf2 }, NOTHING }, // cmp %esi, %edx
	{ 2, { 0x0f, 0x83 }, EXIT }, // jae
	// Whoever goes on here by a wrong guess goes on with descriptor 0 (array_index_nospec()).
	{ 3, { 0x48, 0x19, 0xf6 }, NOTHING }, // sbb %rsi, %rsi
	{ 3, { 0x48, 0x21, 0xf2 }, NOTHING }, // and %rsi, %rdx
	{ 3, { 0x48, 0x8b, 0x89 }, FD }, // mov fd(%rcx), %rcx
	{ 4, { 0x48, 0x8b, 0x0c, 0xd1 }, NOTHING }, // mov (%rcx,%rdx,8), %rcx
	{ 3, { 0x48, 0x85, 0xc9 }, NOTHING }, // test %rcx, %rcx
	{ 2, { 0x0f, 0x84 }, EXIT }, // je: it is closed
	{ 3, { 0x48, 0x8b, 0x91 }, INODE }, // mov f_inode(%rcx), %rdx
	{ 3, { 0x48, 0x85, 0xd2 }, NOTHING }, // test %rdx, %rdx
	{ 2, { 0x0f, 0x84 }, EXIT }, // je: it is closed just now
	{ 3, { 0x4c, 0x69, 0xd8 }, BY_TASK }, // imul $BY_TASK, %rax, %r11
	{ 3, { 0x4c, 0x69, 0xc2 }, BY_INODE }, // imul $BY_INODE, %rdx, %r8
	{ 3, { 0x4d, 0x01, 0xc3 }, NOTHING }, // add %r8, %r11
	FINDING_THE_PLACE,
	COMPARING_TASK(NEXT),
	COMPARING_INODE(NEXT),
	COMPARING_START_TIME(NEXT),
	COMPARING_NUMBERS_OF(OF_RDX, NEXT),
	ENDING_THE_LOOK(NEXT),
	{ 1, { JUMP }, PASS }, // jmp
};

static const struct instruction exiting_unless_task_is_let[] = {
	{ 3, { 0x4c, 0x69, 0xd8 }, BY_TASK }, // imul $BY_TASK, %rax, %r11
	{ 3, { 0x49, 0x81, 0xc3 }, BY_INODE }, // add $BY_INODE, %r11
	FINDING_THE_PLACE,
	COMPARING_TASK(EXIT),
	COMPARING_ANY(inode, EXIT),
	COMPARING_START_TIME(EXIT),
	ENDING_THE_LOOK(EXIT),
};

#define FINDING_THAT_OF_ANYONE(otherwise)                                                                              \
	{ 3, { 0x4c, 0x69, 0xda }, BY_INODE }, /* imul $BY_INODE, %rdx, %r11 */                                        \
	{ 3, { 0x49, 0x81, 0xc3 }, BY_TASK }, /* add $BY_TASK, %r11 */                                                 \
	FINDING_THE_PLACE,                                                                                             \
	COMPARING_ANY(task, otherwise),                                                                                \
	COMPARING_INODE(otherwise)

static const struct instruction passing_if_inode_is_let[] = {
	FINDING_THAT_OF_ANYONE(NEXT),
	COMPARING_NUMBERS_OF(OF_RDX, NEXT),
	ENDING_THE_LOOK(NEXT),
	{ 1, { JUMP }, PASS }, // jmp
};

// rdx is the inode.
static const struct instruction exiting_unless_file_system_is_let[] = {
	{ 3, { 0x48, 0x8b, 0x92 }, SUPERBLOCK }, // mov i_sb(%rdx), %rdx
	{ 2, { 0x8b, 0x92 }, MAGIC }, // mov s_magic(%rdx), %edx
	FINDING_THAT_OF_ANYONE(EXIT),
	ENDING_THE_LOOK(EXIT),
};

enum { SHARED = 0x01, ANONYMOUS = 0x20 }; // bits of a mapping's flags (include/uapi/linux/mman.h)

static const struct instruction deciding_of_mapping[] = {
	{ 2, { 0x8b, 0x97 }, FOURTH }, // mov flags(%rdi), %edx
	{ 3, { 0xf6, 0xc2, SHARED }, NOTHING }, // test $SHARED, %dl
	{ 2, { 0x0f, 0x85 }, EXIT }, // jne
	{ 3, { 0xf6, 0xc2, ANONYMOUS }, NOTHING }, // test $ANONYMOUS, %dl
	{ 2, { 0x0f, 0x85 }, BEHIND }, // jne
};

static const struct instruction reading_command[] = {
	{ 2, { 0x8b, 0x87 }, SECOND }, // mov second(%rdi), %eax
};

static const struct instruction exiting_at_command[] = {
	{ 1, { 0x3d }, COMMAND }, // cmp $COMMAND, %eax
	{ 2, { 0x0f, 0x84 }, EXIT }, // je
};

static const struct instruction reading_magic[] = {
	{ 3, { 0x48, 0x8b, 0x86 }, INODE }, // mov f_inode(%rsi), %rax
	{ 3, { 0x48, 0x85, 0xc0 }, NOTHING }, // test %rax, %rax
	{ 2, { 0x0f, 0x84 }, EXIT }, // je
	{ 3, { 0x48, 0x8b, 0x80 }, SUPERBLOCK }, // mov i_sb(%rax), %rax
	{ 2, { 0x8b, 0x80 }, MAGIC }, // mov s_magic(%rax), %eax
	{ 1, { 0x3d }, MAGIC_ALWAYS }, // cmp $MAGIC_ALWAYS, %eax
	{ 2, { 0x0f, 0x84 }, BEHIND }, // je
};

enum { UNCONNECTED = 1 }; // SS_UNCONNECTED (include/uapi/linux/net.h)

static const struct instruction passing_if_unconnected[] = {
	{ 1, { 0x3d }, MAGIC_IF_UNCONNECTED }, // cmp $MAGIC_IF_UNCONNECTED, %eax
	{ 2, { 0x0f, 0x85 }, NEXT }, // jne
	{ 3, { 0x48, 0x8b, 0x86 }, PRIVATE_DATA }, // mov private_data(%rsi), %rax
	{ 3, { 0x48, 0x85, 0xc0 }, NOTHING }, // test %rax, %rax
	{ 2, { 0x0f, 0x84 }, EXIT }, // je
	{ 2, { 0x8b, 0x88 }, STATE }, // mov state(%rax), %ecx
	{ 3, { 0x83, 0xf9, UNCONNECTED }, NOTHING }, // cmp $UNCONNECTED, %ecx
	{ 2, { 0x0f, 0x84 }, BEHIND }, // je
	{ 1, { 0xb8 }, MAGIC_IF_UNCONNECTED }, // mov $MAGIC_IF_UNCONNECTED, %eax
};

static const struct instruction keeping_magic[] = {
	{ 3, { 0x41, 0x89, 0xc0 }, NOTHING }, // mov %eax, %r8d
};

enum { FORMAT_SHIFT = 12, DIRECTORY = 4 }; // of i_mode (include/uapi/linux/stat.h)

// Behind exiting_unless_there_is_a_table.
static const struct instruction passing_if_made_alone[] = {
	{ 3, { 0x41, 0x81, 0xf8 }, MAGIC_IF_ALONE }, // cmp $MAGIC_IF_ALONE, %r8d
	{ 2, { 0x0f, 0x85 }, NEXT }, // jne
	{ 3, { 0x83, 0xfa, 1 }, NOTHING }, // cmp $1, %edx
	{ 2, { 0x0f, 0x84 }, BEHIND }, // je
};

// A directory that is opened tells nothing; of other files it is asked whether they were opened by this very
// name before (its directory, the name's hash and length, the mount), and are what they were.
static const struct instruction deciding_of_opening[] = {
	{ 3, { 0x4c, 0x8b, 0x96 }, INODE }, // mov f_inode(%rsi), %r10
	{ 4, { 0x41, 0x0f, 0xb7, 0x8a }, MODE }, // movzwl i_mode(%r10), %ecx
	{ 3, { 0xc1, 0xe9, FORMAT_SHIFT }, NOTHING }, // shr $FORMAT_SHIFT, %ecx
	{ 3, { 0x83, 0xf9, DIRECTORY }, NOTHING }, // cmp $DIRECTORY, %ecx
	{ 2, { 0x0f, 0x84 }, BEHIND }, // je
	{ 3, { 0x48, 0x8b, 0x96 }, DENTRY }, // mov f_path.dentry(%rsi), %rdx
	{ 3, { 0x48, 0x85, 0xd2 }, NOTHING }, // test %rdx, %rdx
	{ 2, { 0x0f, 0x84 }, EXIT }, // je
};

static const struct instruction going_on_if_opening_is_let[] = {
	FINDING_THAT_OF_ANYONE(NEXT),
	{ 3, { 0x4c, 0x8b, 0x8e }, MOUNT }, // mov f_path.mnt(%rsi), %r9
	{ 4, { 0x4d, 0x39, 0x4b, CELL(start_time) }, NOTHING }, // cmp %r9, start_time(%r11)
	UNLESS_EQUAL(NEXT),
	COMPARING_NUMBERS_OF(OF_R10, NEXT),
	{ 3, { 0x4c, 0x8b, 0x8a }, PARENT }, // mov d_parent(%rdx), %r9
	{ 4, { 0x4d, 0x39, 0x4b, CELL(parent) }, NOTHING }, // cmp %r9, parent(%r11)
	UNLESS_EQUAL(NEXT),
	{ 3, { 0x4c, 0x8b, 0x8a }, NAME }, // mov d_name.hash_len(%rdx), %r9
	{ 4, { 0x4d, 0x39, 0x4b, CELL(name) }, NOTHING }, // cmp %r9, name(%r11)
	UNLESS_EQUAL(NEXT),
	ENDING_THE_LOOK(NEXT),
	{ 1, { JUMP }, OPENED }, // jmp
};

// Where others may use the descriptor at once, without being seen to begin, it is of interest what they would read.
static const struct instruction exiting_unless_it_can_be_used[] = {
	{ 3, { 0x48, 0x8b, 0x88 }, FILES }, // mov files(%rax), %rcx
	{ 2, { 0x8b, 0x91 }, COUNT }, // mov count(%rcx), %edx
	{ 3, { 0x83, 0xfa, 1 }, NOTHING }, // cmp $1, %edx
	{ 2, { 0x0f, 0x84 }, BEHIND }, // je
	{ 3, { 0x4c, 0x89, 0xd2 }, NOTHING }, // mov %r10, %rdx
	FINDING_THAT_OF_ANYONE(EXIT),
	COMPARING_NUMBERS_OF(OF_RDX, EXIT),
	ENDING_THE_LOOK_FOR(READING_BIT, EXIT),
};

static const struct instruction taking_its_inode[] = {
	{ 3, { 0x4c, 0x89, 0xd2 }, NOTHING }, // mov %r10, %rdx
};

static const struct instruction passing[] = {
	{ 1, { JUMP }, BEHIND }, // jmp
};

static const struct instruction exiting[] = {
	{ 2, { 0xe7, HOOK_PATCH_PORT }, NOTHING }, // out %eax, $HOOK_PATCH_PORT
	{ 1, { JUMP }, BEHIND }, // jmp
};

/** Instructions in a row: once, or for each of the site's commands. */
struct part {
	const struct instruction *instructions;
	size_t count;
	bool each;
};

enum { PARTS_MAXIMUM = 13 };
#define PART(list) { list, sizeof(list) / sizeof((list)[0]), false }
#define PART_EACH(list) { list, sizeof(list) / sizeof((list)[0]), true }

struct hook_filter {
	const struct vm_memory *memory;
	unsigned char *bytes; // HOOK_FILTER_SIZE
	struct cell *cells;
	uint16_t used_count, used[HOOK_FILTER_ENTRIES]; // cells that are not empty, each once
	bool in_use[HOOK_FILTER_ENTRIES];

	uint64_t address, gpa; // address 0: no place
	uint64_t entry_gpa, entry; // entry 0: not mapped
	int64_t layout[OPERANDS];

	_Atomic uint32_t count;
	struct {
		uint64_t site;
		uint32_t kind;
		unsigned exit_at, length; // bytes
	} stubs[HOOK_FILTER_STUBS_MAXIMUM];
};

// How it decides, in this order; behind the last part it stops.
static const struct part deciding_parts[][PARTS_MAXIMUM] = {
	[HOOK_FILTER_DESCRIPTOR] = { PART(exiting_unless_alone), PART(deciding), PART(exiting_unless_task_is_let),
				     PART(passing_if_inode_is_let), PART(exiting_unless_file_system_is_let), PART(passing) },
	[HOOK_FILTER_SHARED_DESCRIPTOR] = { PART(keeping_the_table), PART(deciding), PART(exiting_unless_task_is_let),
					    PART(passing_if_inode_is_let), PART(exiting_unless_file_system_is_let) },
	[HOOK_FILTER_CLOSING] = { PART(exiting_if_others_use_it) },
	[HOOK_FILTER_MAPPING] = { PART(deciding_of_mapping), PART(exiting_unless_alone), PART(deciding),
				  PART(exiting_unless_task_is_let), PART(passing_if_inode_is_let) },
	[HOOK_FILTER_TASK] = { PART(exiting_unless_alone), PART(making_barrier), PART(exiting_unless_task_is_let), PART(passing) },
	[HOOK_FILTER_COMMAND] = { PART(reading_command), PART_EACH(exiting_at_command), PART(passing) },
	[HOOK_FILTER_ALONE] = { PART(exiting_unless_alone), PART(passing) },
	[HOOK_FILTER_INSTALL] = { PART(reading_magic), PART(passing_if_unconnected), PART(keeping_magic),
				  PART(exiting_unless_there_is_a_table), PART(passing_if_made_alone), PART(deciding_of_opening),
				  PART(exiting_unless_task_is_let), PART(going_on_if_opening_is_let), PART(taking_its_inode),
				  PART(exiting_unless_file_system_is_let), PART(passing), PART(exiting_unless_it_can_be_used),
				  PART(passing) },
};

static unsigned times_of(const struct part *part, const struct hook_filter_site *site)
{
	return part->each ? site->command_count : 1;
}

static unsigned length_of(const struct part *part)
{
	unsigned length = 0;
	for (size_t i = 0; i < part->count; i++)
		length += part->instructions[i].length + (part->instructions[i].operand ? OPERAND_LENGTH : 0);
	return length;
}

static void *map_memory(void)
{
	void *memory = mmap(NULL, HOOK_FILTER_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	// The little that is used of it shall stay little.
	madvise(memory, HOOK_FILTER_SIZE, MADV_NOHUGEPAGE);
	madvise(memory, HOOK_FILTER_SIZE, MADV_DONTDUMP);
	return memory;
}

struct hook_filter *hook_filter_create(const struct vm_memory *memory)
{
	struct hook_filter *filter = calloc(1, sizeof(*filter));
	if (!filter)
		return NULL;
	filter->bytes = map_memory();
	if (!filter->bytes) {
		free(filter);
		return NULL;
	}
	filter->memory = memory;
	filter->cells = (struct cell *)(filter->bytes + CELLS_AT);
	hook_filter_reset(filter);
	return filter;
}

void hook_filter_destroy(struct hook_filter *filter)
{
	if (!filter)
		return;
	munmap(filter->bytes, HOOK_FILTER_SIZE);
	free(filter);
}

void hook_filter_reset(struct hook_filter *filter)
{
	hook_filter_forget(filter);
	atomic_store_explicit(&filter->count, 0, memory_order_release);
	filter->address = filter->gpa = filter->entry_gpa = filter->entry = 0;
	memset(filter->bytes, NO_CODE, CELLS_AT);
}

void *hook_filter_memory(const struct hook_filter *filter, size_t *size)
{
	*size = HOOK_FILTER_SIZE;
	return filter->bytes;
}

static bool fits(int64_t value)
{
	return value >= INT32_MIN && value <= INT32_MAX;
}

bool hook_filter_place(struct hook_filter *filter, uint64_t address, uint64_t gpa,
		       const struct hook_filter_layout *layout, struct error *error)
{
	if (filter->entry)
		return error_set(error, ERROR_INVALID, "the filter is mapped at %#llx; it has to be unmapped first",
				 (unsigned long long)filter->address);
	if (address == 0 || address % HOOK_FILTER_SIZE != 0 || gpa % HOOK_FILTER_SIZE != 0 || gpa > largest_gpa)
		return error_set(error, ERROR_INVALID, "the filter cannot be at %#llx (GPA %#llx)",
				 (unsigned long long)address, (unsigned long long)gpa);
	const int64_t values[OPERANDS] = {
		[CURRENT_TASK] = layout->current_task,
		[START_TIME] = layout->task_start_time,
		[FILES] = layout->task_files,
		[COUNT] = layout->files_count,
		[FDT] = layout->files_fdt,
		[MAX_FDS] = layout->fdt_max_fds,
		[FD] = layout->fdt_fd,
		[MOUNT] = layout->file_mount,
		[DENTRY] = layout->file_dentry,
		[PARENT] = layout->dentry_parent,
		[NAME] = layout->dentry_name,
		[INODE] = layout->file_inode,
		[MODE] = layout->inode_mode,
		[NUMBER] = layout->inode_number,
		[GENERATION] = layout->inode_generation,
		[SUPERBLOCK] = layout->inode_superblock,
		[MAGIC] = layout->superblock_magic,
		[PRIVATE_DATA] = layout->file_private_data,
		[STATE] = layout->socket_state,
		[REFERENCES] = layout->file_references,
		[FIRST] = layout->regs_di,
		[SECOND] = layout->regs_si,
		[FOURTH] = layout->regs_r10,
		[FIFTH] = layout->regs_r8,
		[BY_TASK] = TASK_FACTOR,
		[BY_INODE] = INODE_FACTOR,
		[MIXING] = MIXING_FACTOR,
		[MASK] = HASH_MASK,
		[ONE_REFERENCE] = layout->one_reference,
	};
	for (int i = 0; i < OPERANDS; i++)
		if (!fits(values[i]))
			return error_set(error, ERROR_UNSUPPORTED,
					 "the offset %#llx in the guest's kernel does not fit into an instruction",
					 (unsigned long long)values[i]);
	hook_filter_reset(filter);
	memcpy(filter->layout, values, sizeof(values));
	filter->address = address;
	filter->gpa = gpa;
	return true;
}

static unsigned char *put(unsigned char *at, int32_t operand)
{
	memcpy(at, &operand, OPERAND_LENGTH);
	return at + OPERAND_LENGTH;
}

// Writes the instructions once, which are executed at `address`. Returns how many bytes.
static unsigned assemble(unsigned char *at, uint64_t address, const struct part *part, const int64_t values[OPERANDS])
{
	const unsigned char *begin = at;
	for (size_t i = 0; i < part->count; i++) {
		const struct instruction *instruction = &part->instructions[i];
		uint64_t value = (uint64_t)values[instruction->operand];
		memcpy(at, instruction->bytes, instruction->length);
		at += instruction->length;
		address += instruction->length;
		if (!instruction->operand)
			continue;
		address += OPERAND_LENGTH;
		at = put(at, (int32_t)(instruction->operand < CELLS ? value : value - address));
	}
	return (unsigned)(at - begin);
}

static uint64_t stub_address(const struct hook_filter *filter, uint32_t index)
{
	return filter->address + (uint64_t)index * STUB_SPACE;
}

// Where this part begins; NULL: the end of all.
static unsigned offset_of(const struct part *parts, const struct hook_filter_site *site, const struct instruction *instructions)
{
	unsigned offset = 0;
	for (int i = 0; i < PARTS_MAXIMUM && (!instructions || parts[i].instructions != instructions); i++)
		offset += length_of(&parts[i]) * times_of(&parts[i], site);
	return offset;
}

static void make_stub(struct hook_filter *filter, uint32_t index, const struct hook_filter_site *site)
{
	static const struct part leaving = PART(exiting), going = PART(letting_the_table_go), passing_then = PART(letting_the_table_go_and_passing);
	const bool keeps_table = site->shape == HOOK_FILTER_SHARED_DESCRIPTOR;
	const struct part *parts = deciding_parts[site->shape];
	uint64_t address = stub_address(filter, index);
	unsigned char *begin = filter->bytes + (size_t)index * STUB_SPACE;
	unsigned used = 0, deciding_length = offset_of(parts, site, NULL);
	int64_t values[OPERANDS];
	memcpy(values, filter->layout, sizeof(values));
	values[DESCRIPTOR] = values[site->shape == HOOK_FILTER_MAPPING ? FIFTH : FIRST];
	values[KIND_BIT] = (int32_t)(1u << site->kind);
	values[READING_BIT] = (int32_t)(site->reading_kind < HOOK_FILTER_KINDS ? 1u << site->reading_kind : 0);
	values[MAGIC_ALWAYS] = (int32_t)site->magic_always;
	values[MAGIC_IF_ALONE] = (int32_t)site->magic_if_alone;
	values[MAGIC_IF_UNCONNECTED] = (int32_t)site->magic_if_unconnected;
	values[CELLS] = (int64_t)(filter->address + CELLS_AT);
	values[BEHIND] = values[PASS] = (int64_t)(site->address + HOOK_PATCH_LENGTH);
	if (keeps_table)
		values[PASS] = (int64_t)(address + deciding_length);
	values[EXIT] = (int64_t)(address + deciding_length + (keeps_table ? length_of(&passing_then) : 0));
	values[OPENED] = (int64_t)(address + offset_of(parts, site, exiting_unless_it_can_be_used));
	for (int i = 0; i < PARTS_MAXIMUM; i++)
		for (unsigned time = 0; time < times_of(&parts[i], site); time++) {
			values[COMMAND] = parts[i].each ? (int32_t)site->commands[time] : 0;
			values[NEXT] = (int64_t)(address + used + length_of(&parts[i]));
			used += assemble(begin + used, address + used, &parts[i], values);
		}
	if (keeps_table) {
		used += assemble(begin + used, address + used, &passing_then, values);
		values[NEXT] = (int64_t)(address + used + length_of(&going));
		used += assemble(begin + used, address + used, &going, values);
	}
	filter->stubs[index].exit_at = used;
	used += assemble(begin + used, address + used, &leaving, values);
	assert(used <= STUB_SPACE);
	filter->stubs[index].site = site->address;
	filter->stubs[index].kind = site->kind;
	filter->stubs[index].length = used;
}

// From the site to the stub's beginning, and from the stub's ends back behind the site.
static bool is_in_reach(uint64_t site, uint64_t stub)
{
	uint64_t behind = site + HOOK_PATCH_LENGTH;
	return fits((int64_t)(stub - behind)) && fits((int64_t)(behind - (stub + STUB_SPACE)));
}

static uint32_t stub_of(const struct hook_filter *filter, uint64_t site, uint32_t count)
{
	uint32_t i = 0;
	while (i < count && filter->stubs[i].site != site)
		i++;
	return i;
}

bool hook_filter_add(struct hook_filter *filter, const struct hook_filter_site *site,
		     unsigned char jump[HOOK_PATCH_LENGTH], struct error *error)
{
	uint32_t count = atomic_load_explicit(&filter->count, memory_order_relaxed);
	uint32_t index = stub_of(filter, site->address, count);
	uint64_t address = stub_address(filter, index);
	if (filter->address == 0)
		return error_set(error, ERROR_INVALID, "the filter has no place yet, so %#llx cannot lead there",
				 (unsigned long long)site->address);
	if (index < count && filter->stubs[index].kind != site->kind)
		return error_set(error, ERROR_INVALID, "the site %#llx is of kind %u, not %u",
				 (unsigned long long)site->address, filter->stubs[index].kind, site->kind);
	if (index == HOOK_FILTER_STUBS_MAXIMUM)
		return error_set(error, ERROR_LIMIT, "more than %d functions with a filter",
				 HOOK_FILTER_STUBS_MAXIMUM);
	if (site->kind >= HOOK_FILTER_KINDS)
		return error_set(error, ERROR_INVALID, "there are only %d kinds of sites, not %u", HOOK_FILTER_KINDS, site->kind);
	if (site->command_count > HOOK_FILTER_COMMANDS_MAXIMUM)
		return error_set(error, ERROR_LIMIT, "%u commands to be told apart, more than %d", site->command_count,
				 HOOK_FILTER_COMMANDS_MAXIMUM);
	if (!is_in_reach(site->address, address))
		return error_set(error, ERROR_LIMIT, "from the site %#llx no jump leads as far as the filter at %#llx",
				 (unsigned long long)site->address, (unsigned long long)filter->address);
	if (index == count) {
		make_stub(filter, index, site);
		atomic_store_explicit(&filter->count, count + 1, memory_order_release);
	}
	jump[0] = JUMP;
	put(jump + 1, (int32_t)(address - (site->address + HOOK_PATCH_LENGTH)));
	return true;
}

size_t hook_filter_count(const struct hook_filter *filter)
{
	return atomic_load_explicit(&filter->count, memory_order_acquire);
}

// Which stub, and which byte of it, is at RIP; false: none.
static bool locate(const struct hook_filter *filter, uint64_t rip, uint64_t *index, uint64_t *offset)
{
	uint64_t distance = rip - filter->address;
	*index = distance / STUB_SPACE;
	*offset = distance % STUB_SPACE;
	return *index < hook_filter_count(filter) && *offset < filter->stubs[*index].length;
}

bool hook_filter_find(const struct hook_filter *filter, uint64_t rip, uint64_t *site)
{
	uint64_t index, offset;
	if (!locate(filter, rip, &index, &offset) || offset != filter->stubs[index].exit_at)
		return false;
	*site = filter->stubs[index].site;
	return true;
}

bool hook_filter_inside(const struct hook_filter *filter, uint64_t rip, uint64_t *site)
{
	uint64_t index, offset;
	if (!locate(filter, rip, &index, &offset))
		return false;
	*site = filter->stubs[index].site;
	return true;
}

/* What is allowed */

static uint32_t cell_of(const struct hook_filter_entry *entry)
{
	uint64_t sum = entry->task * TASK_FACTOR + entry->inode * INODE_FACTOR;
	uint32_t hash = (uint32_t)(sum ^ sum >> FOLD_SHIFT) * MIXING_FACTOR;
	return (hash >> HASH_SHIFT & HASH_MASK) / (uint32_t)sizeof(struct cell);
}

#define IS(member, value) (atomic_load_explicit(&cell->member, memory_order_relaxed) == (value))
#define PUT(member, value) atomic_store_explicit(&cell->member, value, memory_order_release)

static bool is_same(const struct cell *cell, const struct hook_filter_entry *entry)
{
	return IS(task, entry->task) && IS(start_time, entry->start_time) && IS(inode, entry->inode) &&
	       IS(inode_number, entry->inode_number) && IS(generation, entry->generation) && IS(parent, entry->parent) &&
	       IS(name, entry->name);
}

void hook_filter_allow(struct hook_filter *filter, const struct hook_filter_entry *entry)
{
	uint32_t index = cell_of(entry);
	struct cell *cell = &filter->cells[index];
	if (entry->task == 0 || entry->inode == 0)
		return;
	if (is_same(cell, entry)) {
		PUT(kinds, atomic_load_explicit(&cell->kinds, memory_order_relaxed) | entry->kinds);
		return;
	}
	if (!filter->in_use[index]) {
		filter->in_use[index] = true;
		filter->used[filter->used_count++] = (uint16_t)index;
	}
	// In this order. A stub reads sequence, task, the others, sequence: if the first and the last are the same,
	// what is between is of one entry, or the task is 0.
	PUT(task, 0);
	PUT(sequence, atomic_load_explicit(&cell->sequence, memory_order_relaxed) + 1);
	PUT(start_time, entry->start_time);
	PUT(inode, entry->inode);
	PUT(inode_number, entry->inode_number);
	PUT(generation, entry->generation);
	PUT(parent, entry->parent);
	PUT(name, entry->name);
	PUT(kinds, entry->kinds);
	PUT(task, entry->task);
}

enum forgotten { FORGET_OF_TASK, FORGET_OF_INODE };

static void forget_some(struct hook_filter *filter, enum forgotten which, uint64_t address)
{
	uint16_t kept = 0;
	for (uint32_t i = 0; i < filter->used_count; i++) {
		uint16_t index = filter->used[i];
		struct cell *cell = &filter->cells[index];
		if (which == FORGET_OF_TASK ? IS(task, address) : IS(inode, address)) {
			PUT(task, 0);
			filter->in_use[index] = false;
		} else {
			filter->used[kept++] = index;
		}
	}
	filter->used_count = kept;
	atomic_thread_fence(memory_order_seq_cst);
}

void hook_filter_forget_inode(struct hook_filter *filter, uint64_t inode)
{
	forget_some(filter, FORGET_OF_INODE, inode);
}

void hook_filter_forget_task(struct hook_filter *filter, uint64_t task)
{
	forget_some(filter, FORGET_OF_TASK, task);
}

void hook_filter_forget(struct hook_filter *filter)
{
	for (uint32_t i = 0; i < filter->used_count; i++) {
		struct cell *cell = &filter->cells[filter->used[i]];
		PUT(task, 0);
		filter->in_use[filter->used[i]] = false;
	}
	filter->used_count = 0;
	atomic_thread_fence(memory_order_seq_cst);
}

/* The mapping */

bool hook_filter_map(struct hook_filter *filter, uint64_t entry_gpa, bool global, struct error *error)
{
	uint64_t entry = filter->gpa | entry_present | entry_accessed | entry_large | (global ? entry_global : 0);
	bool exchanged;
	if (filter->address == 0 || filter->entry)
		return error_set(error, ERROR_INVALID, "the filter %s",
				 filter->entry ? "is mapped already" : "has no place yet");
	if (entry_gpa % sizeof(entry) != 0 ||
	    vm_memory_exchange(filter->memory, entry_gpa, 0, entry, &exchanged) != MEMORY_OK)
		return error_set(error, ERROR_MEMORY, "the guest's page-table entry at GPA %#llx cannot be written",
				 (unsigned long long)entry_gpa);
	if (!exchanged)
		return error_set(error, ERROR_INVALID, "the guest's page-table entry at GPA %#llx is in use",
				 (unsigned long long)entry_gpa);
	filter->entry_gpa = entry_gpa;
	filter->entry = entry;
	return true;
}

bool hook_filter_is_mapped(const struct hook_filter *filter)
{
	uint64_t entry;
	return filter->entry &&
	       vm_memory_read(filter->memory, filter->entry_gpa, &entry, sizeof(entry)) == MEMORY_OK &&
	       entry == filter->entry;
}

void hook_filter_unmap(struct hook_filter *filter)
{
	bool exchanged;
	if (filter->entry)
		vm_memory_exchange(filter->memory, filter->entry_gpa, filter->entry, 0, &exchanged);
	filter->entry_gpa = filter->entry = 0;
}
