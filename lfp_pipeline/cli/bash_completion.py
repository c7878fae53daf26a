"""Completion in bash, as in click, and with quotes where a name has spaces, quotes, `$` or `*`.

Before a name that looks like an option, `--` is completed, too.
"""

from click.shell_completion import BashComplete

# Inside of quotes that are open, readline adds what a file name needs; elsewhere, backslashes do.
_SOURCE = """\
%(complete_func)s() {
    local type value quoted
    while IFS=, read -r type value; do
        case $type in
            dir) COMPREPLY=(); compopt -o dirnames ;;
            file) COMPREPLY=(); compopt -o default ;;
            plain)
                printf -v quoted %%q "$value"
                case ${COMP_WORDS[COMP_CWORD]} in
                    [\\'\\"]*) COMPREPLY+=("$value"); compopt -o filenames ;;
                    -*) COMPREPLY+=("$quoted") ;;
                    *)
                        [[ $value == -* && " ${COMP_WORDS[*]} " != *" -- "* ]] &&
                            quoted="-- $quoted"
                        COMPREPLY+=("$quoted") ;;
                esac ;;
        esac
    done < <(
        IFS=$'\\n'
        env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$1"
    )
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class QuotingBashComplete(BashComplete):
    """Completion in bash whose script quotes names."""

    source_template = _SOURCE
