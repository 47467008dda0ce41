# shellcheck shell=bash
# setup.sh: what tests/run and contrib/quickstart share. To be sourced by bash.
#
# Installs Debian packages as root or through sudo, makes a scratch directory that the user who
# runs PostgreSQL can use, and runs commands as that user (PostgreSQL refuses root: it is then
# "postgres", who comes with Debian's packages). Never creates or starts a cluster of Debian's own.

PG_MAJOR=15
PG_BIN=/usr/lib/postgresql/$PG_MAJOR/bin

BUILD_PACKAGES="build-essential autoconf automake pkg-config libpq-dev libssl-dev liblz4-dev
    libinih-dev libjansson-dev libcurl4-openssl-dev libexpat1-dev"
SERVER_PACKAGES="postgresql-$PG_MAJOR postgresql-client-$PG_MAJOR lz4"
# an S3 server for tests, and clients other than ours
CEPH_PACKAGES="radosgw ceph-mon ceph-osd ceph-common"
S3_PACKAGES="openssl curl rclone python3-boto3 faketime"

say() { printf '\n== %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "root or sudo is needed for: $*"
    fi
}

# The name of the user who runs PostgreSQL, and whether that is somebody else than the caller.
tester() { if [ "$(id -u)" = 0 ]; then echo postgres; else id -un; fi; }

# Runs a command as that user, with a home directory and temporary files of his own.
as_tester() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups -- \
            env HOME="$SCRATCH" USER=postgres LOGNAME=postgres "$@"
    else
        "$@"
    fi
}

missing_packages() {
    local p
    for p; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
    done
}

# Debian makes and starts a cluster "main" when a server is installed, unless it is told not to.
without_main_cluster() {
    local dir=/etc/postgresql-common/createcluster.d rc=0
    local file=$dir/pitr-no-main-cluster.conf
    as_root mkdir -p "$dir"
    echo 'create_main_cluster = false' | as_root tee "$file" >/dev/null
    "$@" || rc=$?
    as_root rm -f "$file"
    as_root rmdir --ignore-fail-on-non-empty "$dir"
    return $rc
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a \
        apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        install --no-install-recommends "$@" </dev/null
}

apt_refresh() {
    [ -z "${apt_fresh:-}" ] || return 0
    as_root apt-get -q -o DPkg::Lock::Timeout=300 update </dev/null || warn "apt-get update failed"
    apt_fresh=yes
}

# need PACKAGE…: installs what is missing; without anything missing apt is not called at all.
need() {
    local missing
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    say "installing" $missing
    apt_refresh
    # shellcheck disable=SC2086
    without_main_cluster apt_install $missing ||
        die "these packages are missing and could not be installed:" $missing
}

# want PACKAGE…: as need, but goes on without them; the tests that wanted them say so.
want() {
    local missing
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    say "installing" $missing
    apt_refresh
    # shellcheck disable=SC2086
    apt_install $missing || warn "could not install" $missing
}

# Sets SCRATCH to a new directory under $1 that the tester owns and everybody may enter. The base
# must be ours: what lies in a directory of somebody else must not be run.
make_scratch() {
    local base=$1
    mkdir -p -m 0755 "$base"
    [ -O "$base" ] || die "$base belongs to somebody else"
    SCRATCH=$(mktemp -d "$base/run.XXXXXX")
    chmod 0755 "$SCRATCH"
    [ "$(id -u)" != 0 ] || chown postgres: "$SCRATCH"
}

# Copies the sources (tracked or new, not ignored) of checkout $1 into directory $2, so that the
# build leaves nothing in the checkout and the tester, who may not read it, can build.
copy_sources() {
    local top=$1 to=$2
    mkdir -p "$to"
    if git -c safe.directory='*' -C "$top" rev-parse --git-dir >/dev/null 2>&1; then
        git -c safe.directory='*' -C "$top" ls-files -z -co --exclude-standard
    else
        (cd "$top" && find . -type f ! -path './.git/*' -print0)
    fi | (cd "$top" && while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done) |
        tar -C "$top" --null --no-recursion -cf - -T - | tar -C "$to" --no-same-owner -xf -
    [ "$(id -u)" != 0 ] || chown -R postgres: "$to"
}

# build DIR [CONFIGURE-OPTION…]: builds the sources copied to DIR/src in DIR/build, as the tester.
build() {
    local dir=$1
    shift
    as_tester sh -euc 'cd "$1/src" && autoreconf -i >"$1/autoreconf.log" 2>&1' sh "$dir" ||
        { cat "$dir/autoreconf.log"; return 1; }
    as_tester sh -euc 'd=$1; shift; mkdir -p "$d/build"; cd "$d/build"
        ../src/configure -q "$@" && make -s -j"$(nproc)"' sh "$dir" "$@"
}
