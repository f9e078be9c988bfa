"""Suites: many methods on many tasks, from one file to tables. Nothing else knows both training and evaluation.

cell.py      one evaluation: settings to a solver, ready to answer
config.py    what a suite file says, checked before anything runs
compare.py   trains what has to be trained, evaluates every cell, goes on after whatever fails
overview.py  what came out: accuracy by method and task, means, paired tests, and what each method takes
"""
