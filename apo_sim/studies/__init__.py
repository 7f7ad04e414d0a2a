"""One file a question: the sweep that answers it, the finding in a sentence, the figure.

Every study has `measure(..., seeds, seed, out)`, which returns a labelled dataset and keeps its
stores in the folder `out`, if one is given; `finding(data)`, a sentence with its interval and its
number of runs; and `draw(figure, data)`. The claims judge these datasets, and the scripts in
`experiments/` give them options.
"""
