"""Jobs that cost nothing, in a module that loads nothing, so that processes of their own are quick to start."""

import os
import signal
import time

from graftable.errors import DataError
from graftable.pipelines.jobs.job import Job, Made, Part


class StrangeError(DataError):
    """One that cannot be pickled, as its constructor takes more than a sentence."""

    def __init__(self, message: str, more: int):
        super().__init__(message)


class Letters(Job):
    """A letter three times, in a file for each; letters may fail, kill who makes them, or wait for the file ``go``."""

    def __init__(self, letters: str = "abcd", broken: str = "", deadly: str = "", waits: str = ""):
        self.letters, self.broken, self.deadly, self.waits = letters, broken, deadly, waits

    def parts(self):
        return [Part(index, f"{letter}.txt") for index, letter in enumerate(self.letters)]

    def prepare(self, shared, progress=None):
        (shared / "times").write_text("3")

    def open(self, shared):
        times = int((shared / "times").read_text())

        def make(part, target):
            letter = part.name[0]
            while letter in self.waits and not target.parent.with_name("go").exists():
                time.sleep(0.01)
            if letter in self.broken:
                raise StrangeError(f"{part.name}: is broken.", 1)
            if letter in self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            aside = target.with_name(f".{target.name}.0.part")
            aside.write_text(letter * times)
            os.replace(aside, target)
            return Made(times, {"letters": times})

        return make
