"""Statistics of measured samples and of accuracies; deterministic, numpy only.

The server computes every number that it shows with these functions from the stored samples, whatever the worker said.
Intervals are two-sided at 95 %.
"""

from .accuracy import mean_gap as mean_gap
from .accuracy import pareto_front as pareto_front
from .accuracy import wilson as wilson
from .judging import AA_ALWAYS as AA_ALWAYS
from .judging import AA_SIGNIFICANT as AA_SIGNIFICANT
from .judging import MAX_HALF_WIDTH as MAX_HALF_WIDTH
from .judging import TARGET_HALF_WIDTH as TARGET_HALF_WIDTH
from .judging import deciding_ratio as deciding_ratio
from .judging import is_different as is_different
from .judging import p_value as p_value
from .judging import ratio_flags as ratio_flags
from .judging import sample_flags as sample_flags
from .multiple import RISK as RISK
from .multiple import holm as holm
from .percentiles import PERCENTILES as PERCENTILES
from .percentiles import median_ns as median_ns
from .percentiles import percentile_bound_ns as percentile_bound_ns
from .percentiles import percentile_bounds_ns as percentile_bounds_ns
from .percentiles import samples_needed as samples_needed
from .ratios import LOOK_ALPHA as LOOK_ALPHA
from .ratios import MIN_PROCESSES_FOR_T as MIN_PROCESSES_FOR_T
from .ratios import RatioEstimate as RatioEstimate
from .ratios import ratio as ratio
from .ratios import ratio_of_ratios as ratio_of_ratios
from .stationarity import autocorrelation as autocorrelation
from .stationarity import changepoints as changepoints
from .stationarity import drift_flags as drift_flags
from .stationarity import largest_shift as largest_shift
from .student import Z95 as Z95
from .student import student_quantile as student_quantile
from .student import student_tail as student_tail
from .student import t95 as t95
