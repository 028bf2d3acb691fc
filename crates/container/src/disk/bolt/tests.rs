//! Bolt databases made by hand, damaged in every way.

use super::*;
