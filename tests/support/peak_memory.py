"""The most memory that a process of a test has had, read by the process itself."""

PEAK_MEMORY = """
import re
from pathlib import Path

def peak_memory():
    found = dict(re.findall(r"(\\w+):\\s+(\\d+) kB", Path("/proc/self/status").read_text()))
    return (int(found["VmHWM"]) - int(found["RssFile"])) // 1024
"""
"""The source of a function that gives MiB. Pages of files, such as the libraries, do not count: how many of them are
mapped at once depends on the system's cache, which takes them back when memory is short. Unlike the system's
`ru_maxrss`, this does not count the process that started this one."""
