"""Programs that mean harm, and how each of them has to end in the sandbox under LIMITS.

<FILE>, <FOLDER>, <SOCKET> and <PID> stand for what there is to harm outside: a secret file, its folder, a socket that
somebody listens on, and the process that runs the test.
"""

from dataclasses import replace
from textwrap import dedent
from typing import NamedTuple

from rmas.tools import Limits

LIMITS = Limits(seconds=0.6, cpu_seconds=1, memory_mib=128, processes=16, file_mib=4, output_kib=64, files=32)
PATIENT = replace(LIMITS, seconds=20.0)  # for what ends on its own: a busy machine may take its time
SECRET = "a key of the host"

_TRIED = """
def tried(*attempts):
    for attempt in attempts:
        try:
            print("done:", attempt())
        except BaseException as problem:
            print("refused")
"""


class Hostile(NamedTuple):
    """`said`: its whole output, where it is known. `stopped_by`: one of these ends it."""

    code: str
    said: str | None = None
    stopped_by: tuple[str, ...] = ("",)

    def program(self, words: dict[str, str]) -> str:
        """The program with what it is to harm filled in."""
        code = _TRIED + dedent(self.code)
        for word, value in words.items():
            code = code.replace(f"<{word}>", value)
        return code

    @property
    def limits(self) -> Limits:
        return LIMITS if "time" in self.stopped_by else PATIENT


HOSTILE = {
    "network": Hostile(
        """
        import socket, urllib.request
        def abroad():
            s = socket.socket(); s.settimeout(1); s.connect(('1.1.1.1', 53))
        def datagram():
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('1.1.1.1', 53))
        tried(abroad, datagram, lambda: socket.create_server(('', 8080)),
              lambda: socket.getaddrinfo('example.org', 80), lambda: socket.socket(socket.AF_NETLINK))
        """,
        "refused\n" * 5,
    ),
    "a socket of the host": Hostile(
        """
        import socket
        tried(lambda: socket.socket(socket.AF_UNIX).connect('<SOCKET>'))
        """,
        "refused\n",
    ),
    "reading home, project and system": Hostile(
        """
        from pathlib import Path
        tried(lambda: open('<FILE>').read(), lambda: open('/etc/passwd').read(), lambda: open('/etc/shadow').read(),
              lambda: list(Path('<FOLDER>').iterdir()), lambda: list(Path('/home').iterdir()),
              lambda: __import__('rmas'), lambda: __import__('filelock'))
        """,
        "refused\n" * 7,
    ),
    "reading the environment": Hostile(
        """
        import os
        print(sorted(os.environ))
        print(os.environ['HOME'], 'a key' in str(os.environ))
        """,
        "['HOME', 'LANG', 'MALLOC_ARENA_MAX', 'OPENBLAS_NUM_THREADS', 'PATH', 'PWD', 'PYTHONHASHSEED']\n/tmp False\n",
    ),
    "writing outside": Hostile(
        """
        import os, sys
        paths = ('<FOLDER>/new', '<FILE>', '/new', '/usr/lib/new', '/inside.py', os.__file__, '/dev/new',
                 '/etc/new', os.path.dirname(os.__file__) + '/site-packages/new.py', sys.executable)
        for path in paths:
            tried(lambda: open(path, 'w').write('x'))
        tried(lambda: os.remove('/inside.py'), lambda: os.mkdir('/folder'), lambda: os.remove('<FILE>'))
        """,
        "refused\n" * 13,
    ),
    "fork bomb": Hostile(
        """
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """,
        stopped_by=("time",),
    ),
    "forks up to the limit": Hostile(
        """
        import os, time
        n = 0
        try:
            while os.fork(): n += 1
            time.sleep(9)
        except OSError:
            print(n)
        """,
        "15\n",
    ),
    "thread bomb": Hostile(
        """
        import threading, time
        n = 0
        try:
            while True:
                threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); n += 1
        except RuntimeError:
            print(n <= 15)
        """,
        "True\n",
    ),
    "memory bomb": Hostile(
        """
        x = []
        try:
            while True: x.append(bytearray(1 << 20))
        except MemoryError:
            print(len(x) < 128)
        """,
        "True\n",
    ),
    "memory of many processes": Hostile(
        """
        import os, time
        for _ in range(12):
            if not os.fork():
                x = bytearray(60 << 20)
                time.sleep(9)
        time.sleep(9)
        """,
        stopped_by=("memory",),
    ),
    "memory that no process holds": Hostile(
        """
        import ctypes, os
        libc = ctypes.CDLL(None)
        print(libc.shmget(0, 1 << 20, 0o1600), libc.msgget(0, 0o1600), libc.semget(0, 1, 0o1600))
        tried(lambda: os.memfd_create('x'))
        """,
        "-1 -1 -1\nrefused\n",
    ),
    "shared memory": Hostile(
        """
        import mmap, os, time
        for _ in range(8):
            m = mmap.mmap(-1, 40 << 20)
            if not os.fork():
                m.write(bytes(40 << 20))
                time.sleep(9)
            m.close()
        time.sleep(9)
        """,
        stopped_by=("memory",),
    ),
    "one big file": Hostile(
        """
        import resource
        f = open('big', 'wb')
        tried(lambda: f.write(bytes(8 << 20)))
        """,
        "refused\n",
    ),
    "many big files": Hostile(
        """
        def fill():
            for n in range(9): open(str(n), 'wb').write(bytes(1 << 20))
        tried(fill)
        """,
        "refused\n",
    ),
    "many empty files": Hostile(
        """
        import itertools
        for n in itertools.count(): open(str(n), 'w').close()
        """,
        stopped_by=("files", "time"),
    ),
    "many open files": Hostile(
        """
        tried(lambda: [open('/dev/null') for _ in range(40)])
        """,
        "refused\n",
    ),
    "endless output": Hostile(
        """
        while True: print('x' * 1000)
        """,
        stopped_by=("output",),
    ),
    "endless complaints": Hostile(
        """
        import sys
        while True: print('x' * 1000, file=sys.stderr)
        """,
        stopped_by=("time",),
    ),
    "spinning for ever": Hostile(
        """
        while True: pass
        """,
        stopped_by=("time",),
    ),
    "sleeping for ever": Hostile(
        """
        import time
        time.sleep(10 ** 6)
        """,
        stopped_by=("time",),
    ),
    "deaf to signals": Hostile(
        """
        import signal, time
        for n in range(1, 65):
            try: signal.signal(n, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True: time.sleep(1)
        """,
        stopped_by=("time",),
    ),
    "hung up": Hostile(
        """
        import os, time
        os.close(0); os.close(1); os.close(2)
        time.sleep(99)
        """,
        stopped_by=("time",),
    ),
    "a grandchild that outlives": Hostile(
        """
        import os, time
        if not os.fork():
            os.setsid()
            if not os.fork():
                time.sleep(3)
                open('<FOLDER>/late', 'w').close()
                time.sleep(99)
            os._exit(0)
        print('gone')
        """,
        "gone\n",
    ),
    "signals to the parent": Hostile(
        """
        import os, signal
        tried(lambda: os.kill(<PID>, signal.SIGTERM), lambda: os.killpg(<PID>, signal.SIGTERM))
        os.kill(os.getppid(), signal.SIGKILL); os.kill(1, signal.SIGKILL); os.kill(1, signal.SIGSTOP)
        print(os.getppid(), os.getpid())
        """,
        "refused\nrefused\n1 2\n",
    ),
    "a signal to everybody": Hostile(
        """
        import os
        os.fork()
        os.kill(-1, 9)
        """,
    ),
    "limits lifted": Hostile(
        """
        import resource
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE):
            tried(lambda: resource.setrlimit(kind, (1 << 40, 1 << 40)))
        tried(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1)))
        """,
        "refused\n" * 5,
    ),
    "links out": Hostile(
        """
        import os
        os.symlink('<FILE>', 'a'); os.symlink('/', 'b'); os.symlink('/proc/1/root', 'c')
        tried(lambda: open('a').read(), lambda: open('b<FILE>').read(), lambda: open('c<FILE>').read(),
              lambda: open('a', 'w'), lambda: os.link('/inside.py', 'd'),
              lambda: open('/tmp/../../../../<FILE>').read())
        """,
        "refused\n" * 6,
    ),
    "proc": Hostile(
        """
        import os, ctypes
        libc = ctypes.CDLL(None)
        os.mkdir('p')
        tried(lambda: os.listdir('/proc'), lambda: open('/proc/1/environ').read(), lambda: open('/proc/self/mem'),
              lambda: open('/proc/sys/kernel/core_pattern', 'w'), lambda: os.listdir('/sys'))
        print(libc.mount(b'proc', b'/tmp/p', b'proc', 0, 0))
        """,
        "refused\n" * 5 + "-1\n",
    ),
    "rights": Hostile(
        """
        import os, ctypes
        libc = ctypes.CDLL(None)
        print(libc.unshare(0x10000000), libc.unshare(0x20000), libc.ptrace(16, 1, 0, 0), libc.chroot(b'/tmp'))
        tried(lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.chown('/tmp', 0, 0), lambda: os.nice(-5))
        print(os.getuid(), os.geteuid(), os.getgid())
        """,
        "-1 -1 -1 -1\n" + "refused\n" * 4 + "65534 65534 65534\n",
    ),
    "what was left open": Hostile(
        """
        import os
        for n in range(3, 64):
            try: os.lseek(n, 0, 0)
            except OSError: pass
            else: print(n)
        """,
        "",
    ),
    "deep recursion": Hostile(
        """
        import sys
        sys.setrecursionlimit(10 ** 9)
        def f(x): return f([x])
        f(1)
        """,
        stopped_by=("", "time", "memory"),
    ),
    "a hostile exception": Hostile(
        """
        class E(Exception):
            def __str__(self): raise E
            __repr__ = __str__
        raise E
        """,
        "",
    ),
    "input that is not read": Hostile(
        """
        import time
        time.sleep(99)
        """,
        stopped_by=("time",),
    ),
}
