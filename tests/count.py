#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Counts what test runs report, for check.sh: `N passed, N failed, N skipped`.

count.py meson testlog.json     meson's log: a line of JSON for each program. One built on cmocka says
                                how many of its cases passed and failed, any other counts as one.
count.py junit FILE.xml         pytest's --junitxml
"""

import json
import re
import sys
from xml.etree import ElementTree

CMOCKA = re.compile(r"^\[  (PASSED|FAILED|SKIPPED)  *\] (\d+) test\(s\)", re.MULTILINE)


def from_meson(path):
    passed = failed = skipped = 0
    with open(path) as log:
        for test in map(json.loads, log):
            output = test.get("stdout", "") + "\n" + test.get("stderr", "")
            cases = {"PASSED": 0, "FAILED": 0, "SKIPPED": 0}
            for what, number in CMOCKA.findall(output):
                cases[what] += int(number)
            if test["result"] == "SKIP":
                skipped += 1
                continue
            ok = test["result"] in ("OK", "EXPECTEDFAIL")
            if ok and not any(cases.values()):
                cases["PASSED"] = 1
            elif not ok and cases["FAILED"] == 0:
                cases["FAILED"] = 1  # it crashed, hung, or lost memory at the end
            passed += cases["PASSED"]
            failed += cases["FAILED"]
            skipped += cases["SKIPPED"]
    return passed, failed, skipped


def from_junit(path):
    total = failed = skipped = 0
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return max(total - failed - skipped, 0), failed, skipped


def main():
    counter = {"meson": from_meson, "junit": from_junit}[sys.argv[1]]
    try:
        counts = counter(sys.argv[2])
    except (OSError, ValueError, ElementTree.ParseError) as error:
        print(f"count: {error}", file=sys.stderr)
        counts = 0, 1, 0
    print("%d passed, %d failed, %d skipped" % counts)


main()
