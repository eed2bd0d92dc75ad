//! The exact Gaussian error linear unit, `x Φ(x)` (Hendrycks and Gimpel 2016).

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use rten_simd::SimdUnaryOp;
use rten_vecmath::{Erf, Exp};

/// Small enough for two blocks to stay in the first-level cache.
const BLOCK: usize = 1024;

/// Writes `gelu(x)` to `y` and replaces `x` by the derivative there, which is all that the backward pass needs.
pub(crate) fn forward(x: &mut [f32], y: &mut Vec<f32>) {
    y.resize(x.len(), 0.0);
    let density_scale = 1.0 / (2.0 * PI).sqrt();
    let mut density = [0.0; BLOCK];
    let mut cumulative = [0.0; BLOCK];
    for (x, y) in x.chunks_mut(BLOCK).zip(y.chunks_mut(BLOCK)) {
        let (density, cumulative) = (&mut density[..x.len()], &mut cumulative[..x.len()]);
        for ((density, cumulative), x) in density.iter_mut().zip(cumulative.iter_mut()).zip(&*x) {
            *density = -0.5 * x * x;
            *cumulative = x * FRAC_1_SQRT_2;
        }
        Exp {}.map_mut(density);
        Erf {}.map_mut(cumulative);
        for (((x, y), density), cumulative) in x.iter_mut().zip(y).zip(&*density).zip(&*cumulative) {
            let probability = 0.5 + 0.5 * cumulative;
            *y = *x * probability;
            *x = probability + *x * density * density_scale;
        }
    }
}

/// Multiplies the gradient of the output by the derivative that [`forward`] left.
pub(crate) fn backward(dy: &mut [f32], derivative: &[f32]) {
    for (dy, derivative) in dy.iter_mut().zip(derivative) {
        *dy *= derivative;
    }
}
