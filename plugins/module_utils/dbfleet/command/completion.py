"""The completion of the command for bash.

Verbs, options and choices are fixed when it is printed; names of jobs and backups are asked of
the command while one types.
"""

from __future__ import annotations

from .verbs import ALIASES, BY_NAME, VERBS, job_options, options_of

_SCRIPT = """\
# Completion of the dbfleet command for bash. Made by `dbfleet completion bash`: do not edit.
_dbfleet_offer() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "${COMP_WORDS[COMP_CWORD]}"); }

_dbfleet() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb='' word i
  local asked=() words=() skip=''
  # Bash splits at = and : ; a URL is put together again only for what is asked of the command.
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ -n $skip ]]; then
      skip=''
      continue
    fi
    case $word in
      --job | --repository | --repository-url | --name) skip=1 ;;
      -*) ;;
      @VERBS@) if [[ -z $verb ]]; then verb=$word; fi ;;
    esac
  done
  read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
  for ((i = 1; i + 1 < ${#words[@]}; i++)); do
    case ${words[i]} in
      --job | --repository | --repository-url | --name) asked+=("${words[i]}" "${words[i + 1]}") ;;
    esac
  done
  COMPREPLY=()
  case $previous in
    --job) _dbfleet_offer "$("${COMP_WORDS[0]}" completion jobs 2>/dev/null)" ;;
@CHOICES@
    *_file | --*-file | --encryption-gpg-home | --repository) compopt -o default ;;
    *)
      if [[ -z $verb ]]; then
        _dbfleet_offer '@VERB_WORDS@ --help --version'
      elif [[ $current == -* ]]; then
        case $verb in
@OPTIONS@
        esac
      else
        case $verb in
          show | restore | verify)
            local backups
            backups=$("${COMP_WORDS[0]}" completion backups "${asked[@]}" 2>/dev/null)
            if [[ $verb == verify ]]; then backups+=' all'; fi
            _dbfleet_offer "latest $backups"
            if [[ $verb == restore ]]; then compopt -o default; fi
            ;;
          check)
            _dbfleet_offer "all $("${COMP_WORDS[0]}" completion jobs 2>/dev/null)"
            compopt -o default
            ;;
          completion) _dbfleet_offer 'bash jobs backups' ;;
          log-archive) _dbfleet_offer 'run push fetch status'; compopt -o default ;;
        esac
      fi
      ;;
  esac
}
complete -F _dbfleet dbfleet dbfleet.pyz
"""


def bash() -> str:
    """The whole script."""
    filled = _SCRIPT.replace("@VERBS@", " | ".join(BY_NAME)).replace("@VERB_WORDS@", " ".join(BY_NAME))
    return filled.replace("@CHOICES@", _choices()).replace("@OPTIONS@", _options())


def _choices() -> str:
    lines = {}
    for option in (*(o for verb in VERBS for o in options_of(verb)), *job_options()):
        if option.choices:
            lines[option.name] = f"    {option.name}) _dbfleet_offer '{' '.join(option.choices)}' ;;"
    return "\n".join(lines.values())


def _options() -> str:
    keys = [option.name for option in job_options()]
    lines = []
    for verb in VERBS:
        words = " ".join([*(option.name for option in options_of(verb)), *ALIASES, *keys])
        lines.append(f"          {verb.name}) _dbfleet_offer '{words}' ;;")
    return "\n".join(lines)
