//! Memory over many steps of training. It is counted for the whole process, so this is the one test of its program.

use mlx_core::nn::{self, Linear, relu};
use mlx_core::optim::{AdamW, AdamWConfig, Optimizer, clip_grad_norm};
use mlx_core::{Array, DType, Error, Result, loss, memory};

struct Net {
    hidden: Linear,
    head: Linear,
}

nn::module! { Net { hidden, head } }

impl Net {
    fn init(seed: u32) -> Result<Self> {
        let key = Array::from_slice(&[0, seed], &[2])?;
        Ok(Net { hidden: Linear::init(2, 8, true, &key)?, head: Linear::init(8, 1, true, &key)? })
    }

    fn loss(&self, x: &Array, y: &Array) -> Result<Array> {
        loss::mse(&self.head.forward(&relu(&self.hidden.forward(x)?)?)?, y, loss::Reduction::Mean)
    }
}

#[test]
fn memory_stays_flat_over_many_steps() {
    let x = Array::from_slice(&[0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], &[4, 2]).unwrap();
    let y = Array::from_slice(&[0.0f32, 1.0, 1.0, 0.0], &[4, 1]).unwrap();
    for dtype in [DType::F32, DType::BF16] {
        let mut net = Net::init(5).unwrap();
        for (_, array) in nn::find_mut::<Array>(&mut net) {
            *array = array.as_type(dtype).unwrap();
        }
        let (x, y) = (x.as_type(dtype).unwrap(), y.as_type(dtype).unwrap());
        let mut optimizer = AdamW::new(AdamWConfig { weight_decay: 0.0, ..Default::default() }).unwrap();
        let mut losses = Vec::new();
        let mut flat = None;
        for step in 0..500 {
            let (loss, gradients) = nn::value_and_grad(&mut net, |_| true, |net| net.loss(&x, &y)).unwrap();
            let (gradients, norm) = clip_grad_norm(&gradients, 1.0).unwrap();
            optimizer.step(&mut net, &gradients, 0.02).unwrap();
            optimizer.eval(&net).unwrap();
            losses.push(loss.item::<f32>().unwrap());
            assert!(norm.item::<f32>().unwrap().is_finite());
            drop((loss, gradients, norm));
            // A step that fails leaves nothing behind.
            let failed = nn::value_and_grad(
                &mut net,
                |_| true,
                |net| {
                    net.loss(&x, &y)?;
                    Err::<Array, _>(Error::other("no"))
                },
            );
            assert!(failed.is_err());
            drop(failed);
            let now = (memory::live_arrays(), memory::active_memory().unwrap());
            if step >= 2 {
                assert_eq!(*flat.get_or_insert(now), now, "{dtype}, step {step}");
            }
        }
        assert!(losses[499] < 0.02 * losses[0], "{dtype}: {} {}", losses[0], losses[499]);
    }
}
