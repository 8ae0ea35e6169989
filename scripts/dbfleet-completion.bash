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
      backup | list | show | restore | verify | prune | sync | completion) if [[ -z $verb ]]; then verb=$word; fi ;;
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
    --level) _dbfleet_offer 'checksum structure restore' ;;
    --method) _dbfleet_offer 'logical physical' ;;
    --type) _dbfleet_offer 'full incremental auto' ;;
    --compression-method) _dbfleet_offer 'zstd gzip none' ;;
    --encryption-method) _dbfleet_offer 'none gpg age' ;;
    --proof-level) _dbfleet_offer 'none rows content' ;;
    *_file | --*-file | --encryption-gpg-home | --repository) compopt -o default ;;
    *)
      if [[ -z $verb ]]; then
        _dbfleet_offer 'backup list show restore verify prune sync completion --help --version'
      elif [[ $current == -* ]]; then
        case $verb in
          backup) _dbfleet_offer '--dry-run --job --json --quiet --verbose --help --source --repository --name --source-url --source-password-file --repository-url --repository-file-mode --repository-folder-mode --method --type --compression-method --compression-level --compression-threads --encryption-method --encryption-recipients --encryption-passphrase-file --encryption-identity-file --encryption-gpg-home --retention-keep-last --retention-keep-within --retention-keep-hourly --retention-keep-daily --retention-keep-weekly --retention-keep-monthly --retention-keep-yearly --retention-min-keep --retention-archive-after --retention-archive-to --proof-level --proof-queries --proof-command --limits-parallel --limits-bandwidth --limits-nice --limits-min-free --limits-timeout --limits-lock-wait --limits-chain-length' ;;
          list) _dbfleet_offer '--job --json --quiet --verbose --help --source --repository --name --source-url --source-password-file --repository-url --repository-file-mode --repository-folder-mode --method --type --compression-method --compression-level --compression-threads --encryption-method --encryption-recipients --encryption-passphrase-file --encryption-identity-file --encryption-gpg-home --retention-keep-last --retention-keep-within --retention-keep-hourly --retention-keep-daily --retention-keep-weekly --retention-keep-monthly --retention-keep-yearly --retention-min-keep --retention-archive-after --retention-archive-to --proof-level --proof-queries --proof-command --limits-parallel --limits-bandwidth --limits-nice --limits-min-free --limits-timeout --limits-lock-wait --limits-chain-length' ;;
          show) _dbfleet_offer '--job --json --quiet --verbose --help --source --repository --name --source-url --source-password-file --repository-url --repository-file-mode --repository-folder-mode --method --type --compression-method --compression-level --compression-threads --encryption-method --encryption-recipients --encryption-passphrase-file --encryption-identity-file --encryption-gpg-home --retention-keep-last --retention-keep-within --retention-keep-hourly --retention-keep-daily --retention-keep-weekly --retention-keep-monthly --retention-keep-yearly --retention-min-keep --retention-archive-after --retention-archive-to --proof-level --proof-queries --proof-command --limits-parallel --limits-bandwidth --limits-nice --limits-min-free --limits-timeout --limits-lock-wait --limits-chain-length' ;;
          restore) _dbfleet_offer '--to --table --replace --dry-run --job --json --quiet --verbose --help --source --repository --name --source-url --source-password-file --repository-url --repository-file-mode --repository-folder-mode --method --type --compression-method --compression-level --compression-threads --encryption-method --encryption-recipients --encryption-passphrase-file --encryption-identity-file --encryption-gpg-home --retention-keep-last --retention-keep-within --retention-keep-hourly --retention-keep-daily --retention-keep-weekly --retention-keep-monthly --retention-keep-yearly --retention-min-keep --retention-archive-after --retention-archive-to --proof-level --proof-queries --proof-command --limits-parallel --limits-bandwidth --limits-nice --limits-min-free --limits-timeout --limits-lock-wait --limits-chain-length' ;;
          verify) _dbfleet_offer '--level --job --json --quiet --verbose --help --source --repository --name --source-url --source-password-file --repository-url --repository-file-mode --repository-folder-mode --method --type --compression-method --compression-level --compression-threads --encryption-method --encryption-recipients --encryption-passphrase-file --encryption-identity-file --encryption-gpg-home --retention-keep-last --retention-keep-within --retention-keep-hourly --retention-keep-daily --retention-keep-weekly --retention-keep-monthly --retention-keep-yearly --retention-min-keep --retention-archive-after --retention-archive-to --proof-level --proof-queries --proof-command --limits-parallel --limits-bandwidth --limits-nice --limits-min-free --limits-timeout --limits-lock-wait --limits-chain-length' ;;
          prune) _dbfleet_offer '--dry-run --job --json --quiet --verbose --help --source --repository --name --source-url --source-password-file --repository-url --repository-file-mode --repository-folder-mode --method --type --compression-method --compression-level --compression-threads --encryption-method --encryption-recipients --encryption-passphrase-file --encryption-identity-file --encryption-gpg-home --retention-keep-last --retention-keep-within --retention-keep-hourly --retention-keep-daily --retention-keep-weekly --retention-keep-monthly --retention-keep-yearly --retention-min-keep --retention-archive-after --retention-archive-to --proof-level --proof-queries --proof-command --limits-parallel --limits-bandwidth --limits-nice --limits-min-free --limits-timeout --limits-lock-wait --limits-chain-length' ;;
          sync) _dbfleet_offer '--to --dry-run --job --json --quiet --verbose --help --source --repository --name --source-url --source-password-file --repository-url --repository-file-mode --repository-folder-mode --method --type --compression-method --compression-level --compression-threads --encryption-method --encryption-recipients --encryption-passphrase-file --encryption-identity-file --encryption-gpg-home --retention-keep-last --retention-keep-within --retention-keep-hourly --retention-keep-daily --retention-keep-weekly --retention-keep-monthly --retention-keep-yearly --retention-min-keep --retention-archive-after --retention-archive-to --proof-level --proof-queries --proof-command --limits-parallel --limits-bandwidth --limits-nice --limits-min-free --limits-timeout --limits-lock-wait --limits-chain-length' ;;
          completion) _dbfleet_offer '--job --json --quiet --verbose --help --source --repository --name --source-url --source-password-file --repository-url --repository-file-mode --repository-folder-mode --method --type --compression-method --compression-level --compression-threads --encryption-method --encryption-recipients --encryption-passphrase-file --encryption-identity-file --encryption-gpg-home --retention-keep-last --retention-keep-within --retention-keep-hourly --retention-keep-daily --retention-keep-weekly --retention-keep-monthly --retention-keep-yearly --retention-min-keep --retention-archive-after --retention-archive-to --proof-level --proof-queries --proof-command --limits-parallel --limits-bandwidth --limits-nice --limits-min-free --limits-timeout --limits-lock-wait --limits-chain-length' ;;
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
          completion) _dbfleet_offer 'bash jobs backups' ;;
        esac
      fi
      ;;
  esac
}
complete -F _dbfleet dbfleet dbfleet.pyz
