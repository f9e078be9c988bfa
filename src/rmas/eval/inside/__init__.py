"""What runs in the sandbox when programs are tested. Standard library only; nothing of rmas but wire.py is there.

wire.py       plain values as lines of JSON
answerer.py   loads a program and answers calls of its functions
checker.py    runs a test script whose program is behind a wire
unpack.py     opens a pickled text
"""
