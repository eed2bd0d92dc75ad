//! Matrix products.

use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::NdTensorView;

/// A row-major matrix that a product reads, as it is or turned on its side.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a>(NdTensorView<'a, f32, 2>);

impl<'a> Matrix<'a> {
    /// Sees `values` as rows of `columns` values.
    pub(crate) fn rows_of(columns: usize, values: &'a [f32]) -> Self {
        Self(NdTensorView::from_data([values.len() / columns, columns], values))
    }

    /// Swaps rows and columns, without moving a value.
    pub(crate) fn transposed(self) -> Self {
        Self(self.0.transposed())
    }
}

/// What becomes of the values that the output held before.
pub(crate) enum Output<'a> {
    /// They are replaced.
    Replace(&'a mut [f32]),
    /// They are replaced, and this row is added to each row of the product.
    ReplaceWithBias(&'a mut [f32], &'a [f32]),
    /// The product is added to them.
    Add(&'a mut [f32]),
}

/// Multiplies matrices on the calling thread, with the widest vector instructions of this processor.
pub(crate) struct Multiplier(GemmExecutor);

impl std::fmt::Debug for Multiplier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Multiplier").field(&self.0.kernel_name()).finish()
    }
}

impl Multiplier {
    /// Chooses the kernel for this processor.
    pub(crate) fn new() -> Self {
        Self(GemmExecutor::new())
    }

    /// Computes `a b`.
    ///
    /// # Panics
    /// When the shapes do not fit, which is a bug of the caller.
    pub(crate) fn multiply(&self, a: Matrix<'_>, b: Matrix<'_>, output: Output<'_>) {
        let (values, options) = match output {
            Output::Replace(values) => (values, GemmOptions::default()),
            Output::ReplaceWithBias(values, bias) => {
                (values, GemmOptions { bias: Some(BiasVector::Row(bias)), ..GemmOptions::default() })
            }
            Output::Add(values) => (values, GemmOptions { beta: 1.0, ..GemmOptions::default() }),
        };
        self.0
            .gemm(values, GemmInputA::Unpacked(a.0), GemmInputB::Unpacked(b.0), options)
            .expect("the network multiplies matrices whose shapes fit");
    }
}
