"""`imhearing broker-setup`: writes a folder with passwords, access rules and certificates for a Mosquitto broker.

Needs `mosquitto_passwd`, and `openssl` unless you bring your own certificate.
"""

from __future__ import annotations

import argparse
import contextlib
import grp
import ipaddress
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from commands.cli.common import load_settings, print_message
from commands.doctor import installed
from commands.up.own_broker import write_logins
from edge.configuration.loader import expand_user
from edge.configuration.settings import UNIX, Settings
from edge.core.errors import ImHearingError, UsageError
from edge.core.files import write_atomically
from edge.messaging.access import ACCOUNTS, PURPOSE, Account, Passwords, acl_text, new_passwords, password_text, user_of
from edge.messaging.broker_configuration import ETC, SOCKET, own_broker, shared_broker

_SERVICES: tuple[Account, ...] = ("recorder", "archiver", "query", "control", "page")
_CA_DAYS, _SERVER_DAYS = 7_300, 3_650  # long-lived, as nobody renews them on a porch
_PAGE_DAYS = 820  # Apple's devices trust no server's certificate that is valid for more than 825: HT210176
_READERS = "imhearing"  # group of an installed node's services
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)


def run(args: argparse.Namespace) -> int:
    os.umask(0o077)
    settings = load_settings(args)
    node = settings.node.name
    folder: Path = expand_user(args.into).absolute()
    names = _host_names(args.names)
    given = [args.cert, args.key]
    if any(given) and not (all(given) and args.ca):
        raise UsageError("give --cert, --key and --ca together, or none of them")
    if args.page and any(given):
        raise UsageError("--page: the page's certificate is issued by our own CA; leave out --cert, --key and --ca")
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_atomically(folder / "acl", acl_text(node, settings.mqtt.discovery or "homeassistant").encode(), 0o640)
        own = installed.is_own_broker(folder)
        text = own_broker(SOCKET, str(folder)) if own else shared_broker(str(folder))
        write_atomically(folder / "mosquitto.conf", text.encode(), 0o644)
        if args.cert:
            _copy_certificates(folder, args.cert, args.key, args.ca)
        elif args.names or not (folder / "server.crt").exists():
            _issue(folder, node, "server", names, _SERVER_DAYS)
        if args.page:
            _issue(folder, node, "page", names, _PAGE_DAYS)
            _give_page(folder)
        passwords = _set_passwords(folder, settings, None if own else names[0], args.renew_passwords)
        _give_to_mosquitto(folder)
    except OSError as problem:
        raise ImHearingError(
            f"{problem.filename or folder}: {problem.strerror}; run this with sudo, or use another --into"
        ) from None
    print_instructions(folder, node, names[0], passwords)
    if args.page:
        _print_page_instructions(folder, names[0])
    return 0


def _host_names(given: list[str]) -> list[str]:
    """The names in the broker's certificate: those given, and this host's own. Clients connect to the first."""
    for name in given:
        if not _HOST.fullmatch(name) and not _is_address(name):
            raise UsageError(f"{name[:60]!r} is not a host name or address such as raspberrypi.local or 192.168.1.20")
    host = socket.gethostname().split(".", maxsplit=1)[0]
    own = [f"{host}.local", host] if _HOST.fullmatch(host) else []
    return list(dict.fromkeys([*given, *own, "localhost", "127.0.0.1"]))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


# certificates


def _issue(folder: Path, node: str, server: str, names: list[str], days: int) -> None:
    """Our own CA, unless it exists already, and a new certificate: `<server>.crt` and `<server>.key`."""
    ca, ca_key = folder / "ca.crt", folder / "ca.key"
    if not (ca.exists() and ca_key.exists()):
        _openssl(
            "req", "-x509", *_new_key(ca_key), "-out", ca, "-days", _CA_DAYS, "-subj", f"/CN=Im Hearing {node} CA",
            "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0", "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        request, extensions = Path(scratch) / "request", Path(scratch) / "extensions"
        _openssl("req", *_new_key(folder / f"{server}.key"), "-out", request, "-subj", f"/CN={names[0][:64]}")
        kinds = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
        extensions.write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
            f"subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nsubjectAltName={kinds}\n",
            encoding="ascii",
        )
        _openssl(
            "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-set_serial", f"0x{secrets.token_hex(16)}",
            "-days", days, "-sha256", "-extfile", extensions, "-out", folder / f"{server}.crt",
        )  # fmt: skip


def _new_key(path: Path) -> tuple[str | Path, ...]:
    return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path


def _copy_certificates(folder: Path, cert: Path, key: Path, ca: Path) -> None:
    for source, name in ((cert, "server.crt"), (key, "server.key"), (ca, "ca.crt")):
        write_atomically(folder / name, source.read_bytes(), 0o640)


def _openssl(*arguments: str | int | Path) -> None:
    _tool("openssl", *arguments)


def _tool(program: str, *arguments: str | int | Path) -> None:
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    if found is None:
        raise ImHearingError(f"{program} is not installed; on Debian: apt-get install mosquitto openssl")
    result = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise ImHearingError(f"{program} failed: {result.stderr.strip()[-300:] or result.returncode}")


# passwords


def _set_passwords(folder: Path, settings: Settings, host: str | None, renew: bool) -> Passwords | None:
    """New passwords, hashed for the broker, in clear for config.ini and Mosquitto's programs; None if there are some.

    `host`: where the node reaches the broker; None for its socket.
    """
    hashed = folder / "passwords"
    if hashed.exists() and not renew:
        return None
    node, passwords = settings.node.name, new_passwords()
    network = f"-h {host}\n-p 8883\n--cafile {folder / 'ca.crt'}"
    write_logins(folder, node, f"--unix {SOCKET}" if host is None else network, passwords)
    write_atomically(hashed, password_text(node, passwords).encode(), 0o600)
    write_atomically(folder / "mqtt.ini", _node_settings(folder, node, host, passwords).encode(), 0o600)
    return passwords


def _node_settings(folder: Path, node: str, host: str | None, passwords: Passwords) -> str:
    network = [f"host = {host}", "port = 8883", "tls = on", f"ca_file = {folder / 'ca.crt'}"]
    lines = [
        "# Replace the [mqtt] section of the node's config.ini with this; then: chmod 600 config.ini",
        "[mqtt]",
        *([f"host = {UNIX}{SOCKET}"] if host is None else network),
        f"username = {node}-{{role}}",
        *(f"{account}_password = {passwords[account]}" for account in _SERVICES),
    ]
    return "\n".join(lines) + "\n"


def _give_to_mosquitto(folder: Path) -> None:
    """Lets the broker's user, and no other, read the broker's files."""
    try:
        group = grp.getgrnam("mosquitto").gr_gid if os.geteuid() == 0 else os.getegid()
    except KeyError:
        group = os.getegid()
    for name, mode in (("acl", 0o640), ("passwords", 0o640), ("server.key", 0o640), ("server.crt", 0o644)):
        os.chown(folder / name, -1, group)
        (folder / name).chmod(mode)
    for name in ("ca.crt", "mosquitto.conf"):  # public: they contain no secret
        (folder / name).chmod(0o644)
    os.chown(folder, -1, group)
    folder.chmod(0o755)


def _give_page(folder: Path) -> None:
    """Lets the query service read the page's key."""
    with contextlib.suppress(KeyError):
        if os.geteuid() == 0:
            os.chown(folder / "page.key", -1, grp.getgrnam(_READERS).gr_gid)
    (folder / "page.key").chmod(0o640)
    (folder / "page.crt").chmod(0o644)


def _print_page_instructions(folder: Path, host: str) -> None:
    print_message(f"4. Page:         imhearing configure http.certificate={folder}/page.crt http.key={folder}/page.key")
    print_message("                 then restart the node. It is valid for 820 days; --page renews it")
    print_message(f"                 Let your devices trust {folder}/ca.crt, and open https://{host}:PORT/")


def _print_instructions_for_installed(folder: Path, *, renewed: bool) -> None:
    """The installed broker reads this very folder; systemd gives the services their passwords as credentials."""
    if not renewed:
        print_message(f"1. Broker:       sudo systemctl restart {installed.OWN_BROKER}")
        print_message("2. This node:    has its passwords already")
        return
    credential = f"{installed.CREDENTIALS}/imhearing_mqtt_${{role}}_password"
    print_message(f"1. This node:    for role in {' '.join(_SERVICES)}; do")
    print_message(f'                   sudo sed -n "s/^${{role}}_password = //p" {folder}/mqtt.ini |')
    print_message(f'                   sudo install -m 600 /dev/stdin "{credential}"; done')
    print_message(f"2. Broker:       {installed.RESTART}  # restarts broker and services")


def print_instructions(folder: Path, node: str, host: str, passwords: Passwords | None) -> None:
    print_message(f"Wrote {folder}/acl, passwords, certificates, mosquitto.conf. Next steps:")
    if installed.is_own_broker(folder):
        _print_instructions_for_installed(folder, renewed=passwords is not None)
    else:
        source = "mosquitto.conf" if str(folder) == ETC else str(folder / "mosquitto.conf")
        print_message(f"1. Broker:       sudo install -m 644 {source} /etc/mosquitto/mosquitto.conf")
        print_message("                 sudo systemctl restart mosquitto")
        print_message(f"2. This node:    copy {folder}/mqtt.ini into its config.ini")
    print_message("3. Home Assistant: Settings, Devices & services, Add integration, MQTT, with:")
    print(f"Broker:    {host}")
    print("Port:      8883")
    print(f"Username:  {user_of('control', node)}")
    print(f"Password:  {passwords['control'] if passwords else '(unchanged; --renew-passwords creates new ones)'}")
    print("Advanced:  Broker certificate validation: Custom;")
    print(f"           upload the CA certificate {folder}/ca.crt")
    if passwords:
        print_message("")
        for account in ACCOUNTS:
            print(f"{user_of(account, node)}: {passwords[account]}    # {PURPOSE[account]}")
