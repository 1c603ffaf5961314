#!/usr/bin/env bash
# A tour on the example network, in build/demo: check, render, one user added, the diff, playbooks, the picture.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD/build/demo
rm -rf "$root"
mkdir -p "$root"
cd "$root"
export PATH="$OLDPWD/.venv/bin:$PATH"

step() { printf '\n\033[1m# %s\033[0m\n' "$1"; }
show() { printf '\033[36m$ %s\033[0m\n' "$*"; }
run() { show "$@"; "$@"; }

step "The example network: two visited ISPs, a home ISP, an ISP of correspondents, an enterprise"
run roamvpn init site
run roamvpn secrets site

step "Do the tables hold together? Do the policy's own assertions hold?"
run roamvpn check site

step "Every gateway's swanctl, iproute2 and tc configuration"
run roamvpn render site --out deployed
run ls deployed deployed/fa21/session/legs

step "Nothing has changed, so nothing would be done"
run roamvpn plan site --against deployed

step "Grace gets a VPN of her own to a host behind PCN 41: one record is added to the database"
cat >grace.yml <<'YAML'
  - profile_number: 11
    nai: grace@isp3.example
    vpnshare: 1
    destaddr: 198.51.100.7
    upclass: ef
    downclass: af41
    up_spi: 0x2001
    down_spi: 0x2002
YAML
show "cat grace.yml >> site/vpn_database.yml"
cat grace.yml | tee -a site/vpn_database.yml

step "What would that change, and where? (exit code 2: changes)"
show roamvpn plan site --against deployed
code=0
roamvpn plan site --against deployed || code=$?
printf 'exit code %s\n' "$code"
[ "$code" -eq 2 ]

step "Write it: only what is new is rendered"
run roamvpn render site --out deployed

step "Bring it to gateways by playbook; here, directories of this machine stand in for them"
export ANSIBLE_CONFIG="$OLDPWD/ansible.cfg" ANSIBLE_COLLECTIONS_PATH="$OLDPWD/collections" ANSIBLE_HOME="$root/ansible"
export ANSIBLE_DISPLAY_OK_HOSTS=false ANSIBLE_DISPLAY_SKIPPED_HOSTS=false
PYTHONPATH=$OLDPWD python -m benchmarks.stand_ins site gateways >stand-ins.json
# certificates need strongSwan's pki, which a machine that only looks need not have
provision=(ansible-playbook -i site/roamvpn.yml -e @stand-ins.json --skip-tags pki)
run "${provision[@]}" roamvpn.gateway.site

step "Once more: nothing changes"
run "${provision[@]}" roamvpn.gateway.site

step "Frank moves to another foreign agent: every message, every gateway's change"
run roamvpn simulate E5 --out e5

step "A train enters a station"
run roamvpn simulate storm --users 500 --seconds 1

step "The fleet as a picture"
run roamvpn graph site --out fleet.svg

step "Try next"
cat <<EOF
  cd build/demo; PATH=\$PWD/../../.venv/bin:\$PATH
  xdg-open fleet.svg                               the picture
  xdg-open e5/after.svg                            tunnels after the move; e5/before.svg before it
  roamvpn show ha31 site                           one gateway's tables
  roamvpn plan site --against deployed --json      for machines; --markdown for a review
  \$EDITOR site/sessions.yml                        move alice to fa22, then plan again: GW 51 does not change
  roamvpn --help
EOF
