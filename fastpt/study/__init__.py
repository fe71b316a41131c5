"""A study: pre-training recipes x noise rates x seeds, each tuned on suites, and one report over all of it.

A step is one fastpt command in a process of its own. It is keyed by all that its result depends on, so what is done is
not done again, and a changed recipe, plan, dataset or suite does again only what depends on it: a run's folder ends in
its key, so that results under other settings stay where they are, unused. A step that fails takes down only what needs
it.

    studies/demo/runs/demo_resnet-symmetric-0.05-seed0-s0-1f2e3d4c/    as `fastpt train` and `fastpt tune` leave it
    studies/demo/steps/<step>.json     its key, seconds and bytes once it is done; or how it failed
    studies/demo/logs/<step>.log       what its command printed
    studies/demo/file.txt              the study's file: another one of the same name is refused
    studies/demo/report.html           with figures and tables as files beside it
"""
