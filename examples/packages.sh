# Python packages for an example's function, once, in the example's own folder: packages NAME==VERSION…
# To be sourced; sets PYTHONPATH, which functions get, too.
packages() {
  local wanted="$*"
  if [ "$(cat .packages/wanted 2>/dev/null)" != "$wanted" ]; then
    rm -rf .packages
    python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --target .packages "$@" >&2
    echo "$wanted" >.packages/wanted
  fi
  export PYTHONPATH="$PWD/.packages" PYTHONDONTWRITEBYTECODE=1
}
