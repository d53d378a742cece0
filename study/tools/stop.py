"""`study stop`: asks the driver of a study to stop at the next border of every running pack."""

import argparse

from study.lease import holder, sentence
from study.tools.folder import find_study, refuse_links
from workers.store import stop_key


def add_words(parser: argparse.ArgumentParser) -> None:
    """What may stand behind `study stop`."""
    parser.add_argument("name", metavar="NAME", help="a study's name, or the path of its folder")


def carry_out(words: argparse.Namespace) -> int:
    """Leave the key that workers look for at every border."""
    found = find_study(words.name, words.out)
    refuse_links(found)
    driver = holder(found.store)
    if driver is None:
        print(f"nobody runs study {found.name}; there is nothing to stop")
    elif not driver.alive:
        print(f"nobody runs study {found.name}: its last driver is gone without a word ({sentence(driver)})")
    elif found.store.create(stop_key(driver.lease.run_id), b""):
        print(
            f"asked the driver of study {found.name} to stop ({sentence(driver)}): every running pack goes on to its next "
            f"border, then the command ends; study status {found.folder} shows when; the same command goes on later"
        )
    else:
        print(f"study {found.name} is asked to stop already ({sentence(driver)}); its packs go on to their next borders")
    return 0
