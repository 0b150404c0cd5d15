# Install what system-packages.txt lists, where this is Debian and we are root; elsewhere name what is missing.
#
#     system-packages.sh tests PYTHON     all of the list
#     system-packages.sh clusters PYTHON  all of clusters/system-packages.txt
#     system-packages.sh venv PYTHON      only what PYTHON needs to make a virtual environment
#
# Sourced without arguments it only defines can_compile.

PATH=$PATH:/usr/sbin:/sbin:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')
POLICY=/usr/sbin/policy-rc.d

includes() {
    echo "#include <$1>" | cc ${2:+-I"$2"} -E - >/dev/null 2>&1
}

can_compile() {
    includes Python.h "$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))' 2>/dev/null)"
}

is_there() {
    case $1 in
    cc) includes stdlib.h ;;
    Python.h) can_compile "$2" ;;
    *.h) includes "$1" ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

missing_packages() {
    sed 's/#.*//' "$list" | while read -r package command service; do
        test -z "$package" || is_there "$command" "$1" || echo "$package"
    done
}

# A package must not start its service: neither now nor at the next boot.
install_quietly() {
    if [ ! -e $POLICY ]; then
        printf '#!/bin/sh\nexit 101\n' >$POLICY
        chmod +x $POLICY
        trap 'rm -f $POLICY' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q && apt-get install -q -y --no-install-recommends "$@"
}

disable_services() {
    command -v systemctl >/dev/null || return 0
    sed 's/#.*//' "$list" | while read -r package command service; do
        case " $* " in *" $package "*) test -z "$service" || systemctl --quiet disable "$service" || true ;; esac
    done
}

require() {
    test -n "$*" || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "session2: these packages of the system are missing (named as Debian names them): $*" >&2
        echo "session2: install them, for example with: sudo apt-get install $*" >&2
        return 1
    fi
    echo "session2: installing $*"
    log=$(mktemp)
    if ! install_quietly "$@" >"$log" 2>&1; then
        cat "$log" >&2
        return 1
    fi
    rm -f "$log"
    disable_services "$@"
}

list=$(dirname "$0")/system-packages.txt
case ${1-} in
clusters) list=$(dirname "$0")/clusters/system-packages.txt; require $(missing_packages "$2") ;;
tests) require $(missing_packages "$2") ;;
venv) "$2" -c 'import ensurepip, venv' 2>/dev/null || require python3-venv ;;
esac
