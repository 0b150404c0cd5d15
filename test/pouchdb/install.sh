# Install pouchdb-server into VENV/pouchdb, in the background: it takes two minutes, and only the tests of CouchDB wait
# for it.
#
#     install.sh VENV
#
# `installed` there is a copy of the list of what is installed, `failed` says why it could not be.

here=$(dirname "$0")
folder=$1/pouchdb
npm=$(cd "$1" && pwd)/bin/npm

is_done() {
    cmp -s "$here/package-lock.json" "$folder/installed"
}

install() {
    flock 9
    is_done && return
    rm -f "$folder/installed"
    cp "$here/package.json" "$here/package-lock.json" "$folder"
    if (cd "$folder" && "$npm" ci --ignore-scripts --no-audit --no-fund) >"$folder/log" 2>&1; then
        cp "$here/package-lock.json" "$folder/installed"
    else
        mv "$folder/log" "$folder/failed"
    fi
}

is_done && exit
mkdir -p "$folder"
rm -f "$folder/failed"
install 9>"$folder/lock" >/dev/null 2>&1 </dev/null &
