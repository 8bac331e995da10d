"""The command `stgvcodec completion`, and what the shells ask as their users type.

click finds what may come next, by the environment variable `VARIABLE` in which a shell asks. Its scripts know files and
folders alone; those here know files of certain suffixes too.
"""

from __future__ import annotations

import os

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    shell_complete,
)

from stgvcodec.cli.sections import SectionedCommand

PROGRAM = "stgvcodec"
VARIABLE = "_STGVCODEC_COMPLETE"
"""Environment variable in which a shell asks."""

SUFFIXES = "suffixes"
"""Kind of completion: files that have one of the suffixes in its value, "a|b", and folders."""

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' type value completion current="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=()
    local words="${COMP_WORDS[*]}"
    for completion in $(env COMP_WORDS="$words" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$1"); do
        type="${completion%%%%,*}"
        value="${completion#*,}"
        case "$type" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            suffixes)
                compopt -o filenames
                COMPREPLY+=($(compgen -d -- "$current"))
                COMPREPLY+=($(shopt -s extglob nocasematch; compgen -f -X "!*.@($value)" -- "$current"))
                # Where no file has such a suffix, any may be meant.
                [[ ${#COMPREPLY[@]} -gt 0 ]] || compopt -o default
                ;;
            *) COMPREPLY+=("$value") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a response plain described
    local type value help
    (( ! $+commands[%(prog_name)s] )) && return 1
    local -x COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) %(complete_var)s=zsh_complete
    response=("${(@f)$(%(prog_name)s)}")
    for type value help in ${response}; do
        case "$type" in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            suffixes) _files -g "*.(${value}|${(U)value})" ;;
            *) if [[ "$help" == "_" ]]; then plain+=("$value"); else described+=("${value//:/\\\\:}:$help"); fi ;;
        esac
    done
    [[ -n "$described" ]] && _describe -V unsorted described -U
    [[ -n "$plain" ]] && compadd -U -V unsorted -a plain
    return 0
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
function %(complete_func)s
    set -l current (commandline -ct)
    set -lx %(complete_var)s fish_complete
    set -lx COMP_WORDS (commandline -cp)
    set -lx COMP_CWORD $current
    for completion in (%(prog_name)s)
        set -l parts (string split -m 1 "," -- $completion)
        switch $parts[1]
            case dir
                __fish_complete_directories $current
            case file
                __fish_complete_path $current
            case suffixes
                # Each path has its description behind a tab.
                for path in (__fish_complete_path $current | string split --fields 1 \\t)
                    if string match -qr -- '/$' $path; or string match -qir -- "[.]($parts[2])\\$" $path
                        echo $path
                    end
                end
            case '*'
                echo $parts[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Bash(BashComplete):
    source_template = _BASH

    def source(self) -> str:
        # click's own runs bash to look at its version, wherever the script is for.
        return ShellComplete.source(self)

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type},{item.value}"


class _Zsh(ZshComplete):
    source_template = _ZSH

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type}\n{item.value}\n{item.help or '_'}"


class _Fish(FishComplete):
    source_template = _FISH

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type},{item.value}" + (f"\t{item.help}" if item.help else "")


_SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


@click.command("completion", cls=SectionedCommand, short_help="Print the script by which a shell completes commands.")
@click.argument("shell", type=click.Choice(tuple(_SHELLS)))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the script by which bash, zsh or fish completes commands, options and files.

    \b
    bash: stgvcodec completion bash > ~/.local/share/bash-completion/completions/stgvcodec
    zsh:  stgvcodec completion zsh > FOLDER/_stgvcodec, of a FOLDER in fpath
    fish: stgvcodec completion fish > ~/.config/fish/completions/stgvcodec.fish

    \b
    For this shell alone:
    bash, zsh: source <(stgvcodec completion bash)
    fish:      stgvcodec completion fish | source
    """  # noqa: D301
    assert context.parent is not None
    script = _SHELLS[shell](context.parent.command, {}, PROGRAM, VARIABLE).source()
    click.echo(script, nl=False)


def answered_shell(commands: click.Command) -> bool:
    """Tell a shell what may come next, where it asks.

    Returns:
        Whether it has asked.
    """
    instruction = os.environ.get(VARIABLE)
    if not instruction:
        return False
    for name, kind in _SHELLS.items():
        add_completion_class(kind, name)
    shell_complete(commands, {}, PROGRAM, VARIABLE, instruction)
    return True
