"""Every codec against every other by one metric: computed once for pages, tables of papers and their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench.analysis.bd import DOMAINS, Domain
from bench.analysis.curves import CurveKey, DatasetSource, RDCurve, SequenceKey, curves_of
from bench.analysis.matrix import Pairs, Summary, delta_pairs, summarise
from bench.analysis.pooled import OVER_DATASET, DatasetKey, dataset_curves
from bench.report.measured import Measured, MetricFacts, Scope
from bench.report.overall import DatasetCurves, MeanCurves, OverallCurves

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Grid:
    """Curves and pairs of all codecs by one metric, on each sequence and on each dataset as a whole.

    Published curves are of datasets alone: they meet the values of whole datasets, those of other sources only with
    the option `mix_published`. pairs, whole_pairs: empty where it is not known which way the metric is better.
    """

    measured: Measured
    metric: MetricFacts
    by_sequence: Mapping[SequenceKey, Sequence[RDCurve | None]]
    wholes: Mapping[DatasetKey, RDCurve]
    published: Sequence[RDCurve]
    pairs: Mapping[Domain, Mapping[SequenceKey, Pairs]]
    whole_pairs: Mapping[Domain, Mapping[str, Pairs]]
    _over: dict[Scope, dict[Domain, list[list[Summary]]]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        measured: Measured,
        metric: MetricFacts,
        pooled: pd.DataFrame | None = None,
        domains: Sequence[Domain] = DOMAINS,
    ) -> Grid:
        """The grid of a metric; `pooled` is `ResultSet.datasets` of it where that is at hand."""
        (found,) = curves_of(measured.results, [metric.name])
        codecs, axis, options = measured.codecs, metric.axis, measured.options
        by_sequence = {key: [found.get(CurveKey(codec, *key)) for codec in codecs] for key in measured.sequences}
        wholes: Mapping[DatasetKey, RDCurve] = {}
        if metric.pooled or measured.published:
            wholes = dataset_curves(measured.results.datasets(metric.name) if pooled is None else pooled)
        names = [scope.dataset for scope in measured.scopes if scope.dataset is not None]
        of_wholes = {name: [wholes.get(DatasetKey(codec, name)) for codec in codecs] for name in names}
        pairs: dict[Domain, Mapping[SequenceKey, Pairs]] = {}
        whole_pairs: dict[Domain, Mapping[str, Pairs]] = {}
        for domain in domains if axis is not None else ():
            assert axis is not None
            pairs[domain] = {k: delta_pairs(k, own, codecs, domain, axis, options) for k, own in by_sequence.items()}
            if wholes:
                whole_pairs[domain] = {
                    name: delta_pairs(SequenceKey(name, OVER_DATASET), own, codecs, domain, axis, options)
                    for name, own in of_wholes.items()
                }
        published = [curve for curve in found.values() if curve.published]
        return cls(measured, metric, by_sequence, wholes, published, pairs, whole_pairs)

    def keys(self, scope: Scope) -> list[SequenceKey]:
        """The sequences of a scope, in order."""
        return [key for key in self.measured.sequences if scope.dataset in {None, key.dataset}]

    def on(self, scope: Scope) -> tuple[dict[Domain, list[Pairs]], dict[Domain, list[Pairs]]]:
        """The pairs of a scope, by domain: on its sequences, and on its datasets as wholes."""
        keys = self.keys(scope)
        wholes = {
            domain: [p for name, p in self.whole_pairs.get(domain, {}).items() if scope.dataset in {None, name}]
            for domain in self.pairs
        }
        return {domain: [of_domain[key] for key in keys] for domain, of_domain in self.pairs.items()}, wholes

    def over(self, scope: Scope) -> dict[Domain, list[list[Summary]]]:
        """Every pair over a scope, by domain: rows are anchors, columns test codecs, in the order of the codecs.

        Of a metric that is defined on datasets, and of pairs with a published curve, by the values of whole datasets;
        by the convention of the options, of the others the mean over the sequences or of the mean curves.
        """
        if scope not in self._over:
            self._over[scope] = self._summaries(scope)
        return self._over[scope]

    def _summaries(self, scope: Scope) -> dict[Domain, list[list[Summary]]]:
        codecs = self.measured.codecs
        own, wholes = self.on(scope)
        if self.measured.options.convention == "mean-curve" and not self.metric.pooled:
            summaries = summarise(own, codecs, self.means(scope)[1], whole="of the mean curves")
        else:
            summaries = summarise(own, codecs, wholes if self.metric.pooled else None)
        if self.metric.pooled or not self.measured.published:
            return summaries
        of_wholes = summarise(own, codecs, wholes)
        from_paper = [name in self.measured.published for name in codecs]
        return {
            domain: [
                [(of_wholes if from_paper[a] or from_paper[t] else summaries)[domain][a][t] for t in range(len(codecs))]
                for a in range(len(codecs))
            ]
            for domain in summaries
        }

    def means(self, scope: Scope) -> tuple[frozenset[SequenceKey], dict[Domain, list[Pairs]]]:
        """The sequences of a scope that the codecs' mean curves are over, and the pairs of these curves."""
        measured, axis = self.measured, self.metric.axis
        own = [c for key in self.keys(scope) for c in self.by_sequence[key] if c is not None and not c.published]
        if axis is None or not own:
            return frozenset(), {}
        means = MeanCurves(own, measured.codecs)
        frames = sum(source.frames for curve in own if curve.key in means.common for source in curve.sources)
        over = DatasetSource(len(means.common), frames, "")
        curves_of = [
            replace(found, sources=(over,)) if (found := means.curves.get(codec)) else None for codec in measured.codecs
        ]
        key = SequenceKey(scope.label, "mean curves")
        return means.common, {
            domain: [delta_pairs(key, curves_of, measured.codecs, domain, axis, measured.options)]
            for domain in self.pairs
        }

    def overall(self, dataset: str) -> OverallCurves:
        """The curves over all sequences of a dataset."""
        if self.metric.pooled:
            return DatasetCurves(curve for key, curve in self.wholes.items() if key.dataset == dataset)
        own = [c for key, found in self.by_sequence.items() if key.dataset == dataset for c in found if c is not None]
        return MeanCurves([*own, *(c for c in self.published if c.dataset == dataset)], self.measured.codecs)
