"""One file a question: the sweep that answers it, the finding in values, the figure.

Every study has `measure(..., seeds, seed, out)`, which returns a labelled dataset and keeps its
stores in the folder `out`, if one is given; `finding(data)`, values with their intervals whose
`text` says them in words; and `draw(figure, data)`. The claims judge these datasets, and the
scripts in `experiments/` give them options.
"""
