"""``edgekd doctor``"""

from __future__ import annotations

from edgekd.cli.options import Debug, Json, Quiet, Verbose, print_json, print_table


def doctor(json_output: Json = False, quiet: Quiet = False, verbose: Verbose = False, debug: Debug = False) -> None:
    """What is installed, which targets build and run here, and the pip line for what is missing.

    Example: `edgekd doctor`
    """
    from edgekd.bundle.health import examine

    facts = examine()
    if json_output:
        print_json(facts)
        return
    if quiet:
        return
    machine = facts["machine"]
    print_table(
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB, {machine['system']}, "
        f"Python {machine['python']}",
        ["target", "runs here", "builds here", "version", "devices", "missing", "pip line"],
        [
            [
                t["target"],
                "yes" if t["runs"] else "no",
                t["builds"],
                t["version"],
                ", ".join(t["devices"]),
                t["why"],
                t["fix"],
            ]
            for t in facts["targets"]
        ],
    )
    print_table(
        "what else edgekd can use",
        ["for", "installed", "missing", "pip line"],
        [[e["extra"], ", ".join(e["installed"]), ", ".join(e["missing"]), e["fix"]] for e in facts["extras"]],
    )
