# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Completion of nijimi and nijimid. Commands and options are asked of the programs themselves.

# _nijimi_options PROGRAM [COMMAND]
_nijimi_options()
{
	"$@" --help 2> /dev/null | sed -n 's/^  \(--[a-z-]*\).*/\1/p'
}

# _nijimi_words WORDS: those that begin as the word at the cursor does, one a line.
_nijimi_words()
{
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "${COMP_WORDS[COMP_CWORD]}")
}

# _nijimi_vms PROGRAM: their names, one a line.
_nijimi_vms()
{
	"$1" vms 2> /dev/null | awk 'NR > 1 && $1 != "warning:" { print $1 }'
}

_nijimi_paths()
{
	compopt -o filenames 2> /dev/null
	mapfile -t COMPREPLY < <(compgen "$1" -- "${COMP_WORDS[COMP_CWORD]}")
}

# _nijimi_value OPTION: whether it takes one, which is completed.
_nijimi_value()
{
	case $1 in
	--socket | --policy | --web-certificate | --web-key | --output | -o) _nijimi_paths -f ;;
	--format) _nijimi_words 'dot svg png json graphml' ;;
	--group) _nijimi_words 'auto none siblings trees places coarse' ;;
	--state) if [[ ${COMP_WORDS[0]##*/} == nijimid ]]; then
			_nijimi_paths -d
		else
			_nijimi_words 'waiting arming armed untraced lost gone'
		fi ;;
	--hook) _nijimi_words 'auto patch filter debugreg' ;;
	--socket-mode) _nijimi_words '660 666' ;;
	--user) mapfile -t COMPREPLY < <(compgen -u -- "${COMP_WORDS[COMP_CWORD]}") ;;
	--agent-group) mapfile -t COMPREPLY < <(compgen -g -- "${COMP_WORDS[COMP_CWORD]}") ;;
	--name | --classified | --label | --last | --timeout | --from | --to | --since | --interval | --linger | --edges | --keep | --size | --metrics | --metrics-name | --web | --web-name | --ready-fd)
		COMPREPLY=() ;;
	*) return 1 ;;
	esac
}

_nijimi()
{
	local program=${COMP_WORDS[0]} command=${COMP_WORDS[1]:-} word=${COMP_WORDS[COMP_CWORD]} place

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		_nijimi_words "$("$program" --help 2> /dev/null | sed -n 's/^  \([a-z][a-z-]*\)  *[^ ].*/\1/p') --help --version"
		return
	fi
	! _nijimi_value "${COMP_WORDS[COMP_CWORD - 1]}" || return 0
	if [[ $word == -* ]]; then
		_nijimi_words "$(_nijimi_options "$program" "$command")"
		return
	fi
	case $command in
	run)
		# The first word that is no option, and no option's value, is a program.
		for ((place = 2; place < COMP_CWORD; place++)); do
			[[ ${COMP_WORDS[place]} == -- ]] && { ((place++)); break; }
			case ${COMP_WORDS[place]} in
			--name | --classified | --hook | --socket) ((place++)) ;;
			-*) ;;
			*) break ;;
			esac
		done
		if ((place >= COMP_CWORD)); then
			_nijimi_paths -c
		elif declare -F _command_offset > /dev/null; then
			_command_offset "$place"
		else
			_nijimi_paths -f
		fi
		;;
	policy)
		case ${COMP_WORDS[COMP_CWORD - 1]} in
		check) _nijimi_paths -f ;;
		show | reload) ;;
		*) _nijimi_words 'check show reload' ;;
		esac
		;;
	import) _nijimi_paths -f ;;
	export)
		if ((COMP_CWORD > 2)); then
			_nijimi_paths -f
		else
			_nijimi_words "$(_nijimi_vms "$program")"
		fi
		;;
	status | web) ;;
	*) _nijimi_words "$(_nijimi_vms "$program")" ;;
	esac
}

_nijimid()
{
	COMPREPLY=()
	_nijimi_value "${COMP_WORDS[COMP_CWORD - 1]}" || _nijimi_words "$(_nijimi_options "${COMP_WORDS[0]}")"
}

complete -F _nijimi nijimi
complete -F _nijimid nijimid
