# shellcheck shell=bash
# Unpacks Debian packages that are not for this machine, or that cannot stand beside what is installed: sourced after
# lib.sh by the scripts that need it, which name it among their inputs.

# unpack FOLDER PACKAGE:ARCHITECTURE... : downloads the packages and unpacks them into FOLDER, by an apt of its own that
# knows no installed package. Needs a work folder.
unpack() {
    local folder=$1 apt=$WORK_DIR/apt name
    shift
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$WORK_DIR/packages" "$folder"
    : >"$apt/status"
    cat >"$apt/apt.conf" <<END
APT::Architecture "amd64";
APT::Architectures { "amd64"; "i386"; "arm64"; };
APT::Sandbox::User "root";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
Acquire::Retries "5";
END
    # An index that the mirror is just replacing is no matter as long as another has the package.
    APT_CONFIG=$apt/apt.conf apt-get update -q=2 >"$apt/log" 2>&1 || true
    (cd "$WORK_DIR/packages" && APT_CONFIG=$apt/apt.conf apt-get download -q=2 "$@" >>"$apt/log" 2>&1) \
        || fail "cannot download $*: $(cat "$apt/log")"
    for name in "$WORK_DIR/packages/"*.deb; do dpkg-deb --extract "$name" "$folder"; done
}

# depends_on PACKAGE:ARCHITECTURE : the package that a metapackage stands for; after an `unpack`, whose index it reads.
depends_on() {
    APT_CONFIG=$WORK_DIR/apt/apt.conf apt-cache depends --no-recommends --no-suggests "$1" \
        | awk '$1 == "Depends:" {print $2; exit}'
}
