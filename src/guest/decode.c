/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest/decode.h"

#include <Zydis/Zydis.h>

// The target of a direct call; 0: the instruction is none.
static uint64_t call_target(const ZydisDecodedInstruction *instruction,
			    const ZydisDecodedOperand *operands, uint64_t address)
{
	ZyanU64 target;
	if (instruction->mnemonic != ZYDIS_MNEMONIC_CALL || instruction->operand_count == 0 ||
	    operands[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
	    !ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(instruction, &operands[0], address, &target)))
		return 0;
	return target;
}

bool decode_syscall_entry(const unsigned char *code, size_t length, uint64_t address,
			  uint64_t do_syscall_64, uint64_t *call, uint64_t *next,
			  struct error *error)
{
	ZydisDecoder decoder;
	if (!ZYAN_SUCCESS(
		    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)))
		return error_set(error, ERROR_UNSUPPORTED, "Zydis cannot decode 64-bit code");

	unsigned calls = 0;
	size_t at = 0;
	while (at < length) {
		ZydisDecodedInstruction instruction;
		ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code + at, length - at,
							 &instruction, operands)))
			break; // past the code, or the end cuts an instruction in two
		if (call_target(&instruction, operands, address + at) == do_syscall_64) {
			calls++;
			*call = address + at;
			*next = address + at + instruction.length;
		}
		at += instruction.length;
	}
	if (calls == 1)
		return true;
	return error_set(error, ERROR_UNSUPPORTED,
			 "%s call of do_syscall_64 (%#llx) in the %zu bytes of code at"
			 " entry_SYSCALL_64 (%#llx) that can be decoded",
			 calls ? "more than one" : "no", (unsigned long long)do_syscall_64, at,
			 (unsigned long long)address);
}
