"""A picture of a report: its first table, its speakers and utterances, without what is between.

Usage: python tools/make_report_picture.py REPORT.html PICTURE.png [--dark] [--show errors]
Needs Playwright and a Chromium (Debian's by default, or the one that CHROMIUM names).
"""

import argparse
import os
from pathlib import Path

HEIGHT = 900  # of a screen; parts taller than that are cut off
LEFT_OUT = ("#figures .panel ~ .panel", ".note", "#about", "#words", "nav")
HEADINGS = {"all": "All", "errors": "With errors", "differ": "Systems differ"}


def take_picture(report: Path, picture: Path, width: int, dark: bool, show: str) -> None:
    """Opens the report as a reader would and saves what its first screens show.

    Args:
        report: made by `asr-kd compare`.
        picture: a PNG file.
        width: of the window in CSS pixels; the picture has twice as many.
        dark: the dark colours.
        show: which utterances, a key of `HEADINGS`.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(
            viewport={"width": width, "height": HEIGHT},
            device_scale_factor=2,
            color_scheme="dark" if dark else "light",
        )
        page.goto(report.resolve().as_uri())
        page.get_by_label(HEADINGS[show]).check()
        for part in LEFT_OUT:
            page.eval_on_selector_all(part, "all => all.forEach(one => { one.hidden = true; })")
        page.evaluate("scrollTo(0, 0)")
        list_top = page.locator("#list").bounding_box()
        if list_top is None:
            raise SystemExit(f"{report}: shows no utterances")
        # As high as it takes to see some utterances below the tables.
        page.set_viewport_size({"width": width, "height": round(list_top["y"]) + HEIGHT // 2})
        page.wait_for_timeout(300)
        page.screenshot(path=picture)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--show", choices=HEADINGS, default="differ")
    args = parser.parse_args()
    take_picture(args.report, args.picture, args.width, args.dark, args.show)


if __name__ == "__main__":
    main()
