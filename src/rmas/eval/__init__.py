"""Evaluation: tasks, graders, the sandboxed tests of code, statistics, and runs that leave records.

questions
    task.py            Task, Sample, Target; find_task, load_samples
    tasks/             the benchmarks, a row each in TASKS
grades
    grade.py           texts against targets: correct, wrong or unparsed, under two readings
    boxes.py           what stands in the last box
    extract.py         the answer in a text
    fences.py          the program in a text
    letters.py         the letter that a model chose
    units.py           units behind numbers
    notation.py        how answers are written: LaTeX, numbers, words
    forms.py           what kind of object an answer is
    maths.py           strict equality of two mathematical answers
    lenient.py         the rule of the authors' release
    prover.py          math-verify in a process of its own, under a time limit
    prover_worker.py   that process
    judge.py           an optional judge for short answers
    code.py            programs against hidden tests, in the sandbox of rmas.tools
    answering.py       a program that answers calls
    prelude.py         names that a program is given without an import
    compare.py         what was printed or returned against what was expected
    inside/            what runs in the sandbox
    outside.py         grades for outputs that were made elsewhere
runs
    config.py          what an evaluation may be told
    run.py             a solver on a task, batch by batch, resumable
    regrade.py         verdicts anew, from the texts that are kept
    votes.py           what samples of one question vote for
    record.py          what is kept of every sample
    machine.py         device, seconds, memory, energy, versions
    summary.py         the figures of a run, from its records
statistics
    statistics.py      mean, errors, intervals, pass@k
    paired.py          whether two runs differ
    power.py           the smallest difference that would show
reports
    finished.py        a finished run as a row; rows against a reference
    report.py          finished runs side by side: tables and pictures
    tables.py          Markdown, CSV and LaTeX
    series.py          what a picture shows
    space.py           answers among gold answers: distance and control
    embedding.py       texts as vectors
    plots.py           pictures of lines
    panels.py          pictures of clouds and of a grid
"""
